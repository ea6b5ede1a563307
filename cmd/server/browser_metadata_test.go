//go:build browser && !nodemo

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Files of other programs tell their parameters: texts of every kind of chunk, and comments of EXIF.
func TestBrowserMetadata(t *testing.T) {
	b := open(t, newBrowser(t), serveColours(t))
	for name, want := range map[string]string{
		"text_odd.png":    `{"prompt_style":"a1111","prompt":"猫, ünïcode","negative_prompt":""}`,
		"parameters.jpg":  `{"prompt_style":"a1111","prompt":"a cat, 猫","negative_prompt":"","num_inference_steps":5,"seed":1,"scheduler":"Euler"}`,
		"parameters.webp": `{"prompt_style":"a1111","prompt":"a dog","negative_prompt":"","num_inference_steps":5,"seed":2,"scheduler":"Euler"}`,
		"grey.jpg":        "null", "lossy.webp": "null", "rgb8.png": "null",
	} {
		data, err := os.ReadFile(filepath.Join("../../internal/imagefile/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		// Cut anywhere it is no error that the reader sees.
		for _, size := range []int{len(data), len(data) / 2, 20, 0} {
			got := value[string](b, fmt.Sprintf(`(async () => {
				const { readTexts, requestOfTexts } = await import('./page/metadata.js');
				const bytes = Uint8Array.from(atob(%q), (c) => c.charCodeAt(0));
				return JSON.stringify(requestOfTexts(await readTexts(new Blob([bytes]))));
			})()`, base64.StdEncoding.EncodeToString(data[:size])))
			if size == len(data) && !sameJSON(t, got, want) {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}

	for text, want := range map[string]string{
		"a cat, (soft light:1.2)\nin two lines\nNegative prompt: bad,\nworse\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 18446744073709551615, " +
			"Size: 832x1216, Lora hashes: \"a: 1, b: 2\", Denoising strength: 0.33, Clip skip: 3, Emphasis: No norm, Refiner: \"x, y\", Refiner switch at: 0.8, Version: v1.10": `{"prompt_style":"a1111",
			"prompt":"a cat, (soft light:1.2)\nin two lines","negative_prompt":"bad,\nworse","num_inference_steps":20,"scheduler":"DPM++ 2M Karras","guidance_scale":7.5,
			"seed":"18446744073709551615","width":832,"height":1216,"strength":0.33,"clip_skip":1,"emphasis":"nonorm","refiner":true,"denoising_end":0.8}`,
		"a dog\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Denoising strength: 0.6, Hires upscale: 1.5, Hires steps: 8, Hires upscaler: 4x-UltraSharp, Hires sampler: DPM++ 2M, Hires prompt: \"a cat, large\", Version: v1.10": `{"prompt_style":"a1111",
			"prompt":"a dog","negative_prompt":"","num_inference_steps":20,"scheduler":"Euler","guidance_scale":7,"seed":1,"width":512,"height":512,"strength":0.6,
			"hires":{"scale":1.5,"num_inference_steps":8,"strength":0.6,"upscaler":"4x-UltraSharp","prompt":"a cat, large","scheduler":"DPM++ 2M"}}`,
		"only a prompt: with a colon": `{"prompt_style":"a1111","prompt":"only a prompt: with a colon","negative_prompt":""}`,
	} {
		got := value[string](b, fmt.Sprintf(`import('./page/metadata.js').then(({ requestOfTexts }) => JSON.stringify(requestOfTexts({ parameters: %q })))`, text))
		if !sameJSON(t, got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// sameJSON compares two texts as JSON.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var both [2]any
	for i, text := range []string{a, b} {
		if err := json.Unmarshal([]byte(text), &both[i]); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	return cmp.Equal(both[0], both[1])
}

// A server that wants to know who asks gets a token, once; a wrong one is asked for again.
func TestBrowserSignIn(t *testing.T) {
	address := serveColours(t)
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := r.Cookie("session")
		switch {
		case r.Method == "POST" && r.URL.Path == "/v1/session" && r.Header.Get("Authorization") == "Bearer right":
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "s", Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		case err == nil || r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/page/"):
			proxy.ServeHTTP(w, r)
		default:
			http.Error(w, `{"detail":"Not authenticated"}`, http.StatusUnauthorized)
		}
	}))
	t.Cleanup(front.Close)
	b := visit(t, newBrowser(t), front.URL+"/", "401")
	t.Cleanup(front.CloseClientConnections)
	b.until("document.getElementById('sign-in').open")
	b.run("document.getElementById('token').value = 'wrong'")
	b.press("#sign-in button", "Sign in")
	b.until("document.getElementById('sign-in-problem').textContent.includes('does not know')")
	b.run("document.getElementById('token').value = 'right'")
	b.press("#sign-in button", "Sign in")
	b.ready()
	b.fill("prompt", "a")
	b.fill("width", "64")
	b.fill("height", "64")
	b.click("#generate")
	b.until(`document.querySelector('.ended.done img')?.naturalWidth === 64`)
}

// An image that is pasted, or dropped, is what the next one begins with, scaled if the server would not compute it, or
// tells its parameters.
func TestBrowserDrop(t *testing.T) {
	address := serveColours(t)
	made := ask(t, "POST", address+"/v1/jobs", `{"prompt":"what the file says","width":64,"height":72,"num_inference_steps":1,"output_format":"jpeg"}`, 202)
	image := until(t, address+"/v1/jobs/"+made.ID, func(j jobState) bool { return j.State == "done" }).Images[0]
	b := open(t, newBrowser(t), address)
	b.run(fmt.Sprintf(`(async () => {
		const transfer = async (blob) => {
			const data = new DataTransfer();
			data.items.add(new File([blob], 'file', { type: blob.type }));
			return data;
		};
		const made = await (await fetch(%q)).blob();
		const canvas = Object.assign(document.createElement('canvas'), { width: 2100, height: 2100 });
		canvas.getContext('2d').fillRect(0, 0, 9, 9);
		const large = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
		const svg = new Blob(['<svg xmlns="http://www.w3.org/2000/svg" width="80" height="48"/>'], { type: 'image/svg+xml' });
		const drag = (name, target, dataTransfer) => target.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
		window.paste = async () => dispatchEvent(new ClipboardEvent('paste', { clipboardData: await transfer(made), bubbles: true, cancelable: true }));
		window.dropOn = async (use, what) => {
			const data = await transfer({ made, large, svg }[what]);
			drag('dragenter', document.body, data);
			if (document.getElementById('drop').hidden) throw new Error('nothing to drop on');
			drag('drop', document.querySelector('[data-use=' + use + ']'), data);
		};
	})()`, image.URL))

	b.run("paste()")
	b.until(`document.getElementById('source-size').textContent === '64 × 72'`)
	b.press("#source-set button", "Remove")
	b.until(`document.getElementById('size').checkVisibility()`)
	b.run("dropOn('input', 'made')")
	b.until(`document.getElementById('source-size').textContent === '64 × 72'`)
	b.run("dropOn('input', 'large')") // 2048 × 2048 are the most pixels, 64 × 64 the model's own
	b.until(`document.getElementById('source-size').textContent === '64 × 64'`)
	b.press("#source-set button", "Remove")
	b.run("dropOn('parameters', 'made')")
	b.until(`document.getElementById('prompt').value === 'what the file says' && document.getElementById('height').value === '72'`)
	if !value[bool](b, `document.getElementById('drop').hidden && document.getElementById('source-set').hidden`) {
		t.Error("what is dropped on is still there")
	}
	b.run("dropOn('parameters', 'svg')")
	b.until(`document.getElementById('notes').textContent.includes('does not say how it was made')`)
}
