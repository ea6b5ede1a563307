package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"net/url"
	"strings"
)

// openAIBody is a body of OpenAI's API.
func (l *load) openAIBody(random *rand.Rand) body {
	b := l.body(random)
	if b.want.prompt == "" { // which OpenAI's clients can't send
		b.want.prompt = prompts[0]
		b.fields["prompt"] = b.want.prompt
		b.want.recipe = ""
	}
	delete(b.fields, "width")
	delete(b.fields, "height")
	b.fields["size"] = fmt.Sprintf("%dx%d", b.want.width, b.want.height)
	return b
}

func (l *load) openAIGenerations(ctx context.Context, random *rand.Rand) error {
	b := l.openAIBody(random)
	b.images = 1 + random.IntN(2)
	b.fields["n"] = b.images
	if random.IntN(2) == 0 {
		b.fields["response_format"] = "b64_json"
	}
	a, err := l.c.post(ctx, "/v1/images/generations", b.fields)
	if err != nil {
		return err
	}
	return l.openAIAnswer(ctx, b, a)
}

// openAIAnswer checks each image of an answer: image i has seed + i.
func (l *load) openAIAnswer(ctx context.Context, b body, a answer) error {
	var answer struct {
		Data []struct {
			ID     string
			URL    string
			Base64 string `json:"b64_json"`
		}
	}
	if a.status != 200 || a.object(&answer) != nil || len(answer.Data) != b.images {
		l.r.violate("an image is refused", "OpenAI's %v: %s", b.want, a)
		return nil
	}
	for i, img := range answer.Data {
		w := b.want
		w.seed += uint64(i)
		if i > 0 {
			w.recipe = ""
		}
		l.known.make(img.ID, w)
		if img.Base64 != "" {
			l.checkBase64(img.ID, w, img.Base64)
			continue
		}
		u, err := url.Parse(img.URL)
		if err != nil {
			l.r.violate("a URL is wrong", "%q: %v", img.URL, err)
			continue
		}
		back, err := l.c.once(ctx, request{method: "GET", path: u.Path})
		if err != nil {
			return err
		}
		l.checkImage(img.ID, w, back)
	}
	return nil
}

func (l *load) openAIStream(ctx context.Context, random *rand.Rand) error {
	b := l.openAIBody(random)
	b.fields["stream"], b.fields["partial_images"] = true, 2
	a, err := l.c.post(ctx, "/v1/images/generations", b.fields)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(a.body)) {
		data, ok := strings.CutPrefix(line, "data: ")
		var event struct {
			Type, ID string
			Base64   string `json:"b64_json"`
		}
		if ok && json.Unmarshal([]byte(data), &event) == nil && event.Type == "image_generation.completed" {
			l.known.make(event.ID, b.want)
			l.checkBase64(event.ID, b.want, event.Base64)
			return nil
		}
	}
	l.r.violate("a stream has no image", "%v: %s", b.want, a)
	return nil
}

func (l *load) openAIEdits(ctx context.Context, random *rand.Rand) error {
	b := l.imageBody(random)
	if b.want.prompt == "" {
		b.want.prompt = prompts[0]
	}
	u := l.uploads[random.IntN(len(l.uploads))]
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	file, err := w.CreateFormFile("image", "image")
	if err == nil {
		_, err = file.Write(u.data)
	}
	if err != nil {
		return err
	}
	for name, value := range map[string]any{
		"prompt": b.want.prompt, "num_inference_steps": b.want.steps, "seed": b.want.seed, "strength": 0.9, "response_format": "b64_json",
	} {
		if err := w.WriteField(name, fmt.Sprint(value)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	a, err := l.c.do(ctx, request{name: "POST /v1/images/edits", method: "POST", path: "/v1/images/edits", kind: w.FormDataContentType(), body: form.Bytes()})
	if err != nil {
		return err
	}
	return l.openAIAnswer(ctx, b, a)
}

func (l *load) sdText(ctx context.Context, random *rand.Rand) error {
	b := l.body(random)
	b.want.recipe = "" // A1111's sampler and guidance are not the model's own
	b.images = 1 + random.IntN(2)
	return l.sd(ctx, "/sdapi/v1/txt2img", b, map[string]any{
		"prompt": b.want.prompt, "width": b.want.width, "height": b.want.height, "steps": b.want.steps, "seed": b.want.seed, "batch_size": b.images,
		"sampler_name": "Euler",
	})
}

func (l *load) sdImage(ctx context.Context, random *rand.Rand) error {
	b := l.imageBody(random)
	u := l.uploads[random.IntN(len(l.uploads))]
	return l.sd(ctx, "/sdapi/v1/img2img", b, map[string]any{
		"prompt": b.want.prompt, "width": b.want.width, "height": b.want.height, "steps": b.want.steps, "seed": b.want.seed, "sampler_name": "Euler",
		"init_images": []string{base64.StdEncoding.EncodeToString(u.data)}, "denoising_strength": 0.9,
	})
}

// sd sends a request of A1111's API and checks each image: image i has seed + i.
func (l *load) sd(ctx context.Context, path string, b body, fields map[string]any) error {
	a, err := l.c.post(ctx, path, fields)
	if err != nil {
		return err
	}
	var answer struct{ Images []string }
	if a.status != 200 || a.object(&answer) != nil || len(answer.Images) != b.images {
		l.r.violate("an image is refused", "%s %v: %s", path, b.want, a)
		return nil
	}
	for i, data := range answer.Images {
		w := b.want
		w.seed += uint64(i)
		l.checkBase64(fmt.Sprintf("of %s", path), w, data)
	}
	return nil
}
