package server

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"mime/multipart"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Of what a client writes, the log has the method, the path, and the ids of jobs and images: no value of a body or a query
// on any route, whether it is used, ignored or refused, no name of a file, no header.
func TestLogHasNothingOfBodies(t *testing.T) {
	const secret = "Tr0ub4dor"
	loras := t.TempDir()
	if err := os.WriteFile(filepath.Join(loras, "known.safetensors"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	models := withModels(t)
	b := loadedBench(t, func(c *Config) {
		models(c)
		c.LoRADir = loras
	})
	b.base.give = func(j engine.Job, img *image.NRGBA) (*sdxl.Result, error) {
		return &sdxl.Result{Images: []*image.NRGBA{img}, Parameters: j.Parameters, Warnings: []string{"left out: " + j.Request.Prompt}}, nil
	}
	b.base.run = func(_ context.Context, r sdxl.Request) error {
		if strings.HasSuffix(r.Prompt, "refused late") {
			return fmt.Errorf("late: %w", &sdxl.RequestError{Field: "prompt", Value: r.Prompt, Allowed: "UTF-8 text"})
		}
		return nil
	}
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	file, err := parts.CreateFormFile("image", secret+".png")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte(secret)); err != nil {
		t.Fatal(err)
	}
	if err := parts.Close(); err != nil {
		t.Fatal(err)
	}
	const json = "application/json"
	strange := `{"prompt":%[1]q,"negative_prompt":%[1]q,"prompt_2":%[1]q,"seed":%[1]q,"scheduler":%[1]q,"model":%[1]q,"task":%[1]q,"image":%[1]q,` +
		`"id":%[1]q,"loras":[%[1]q,{"name":%[1]q,"strength":%[1]q}],"preset":%[1]q,"prompt_style":%[1]q,"output_format":%[1]q,"priority":%[1]q,` +
		`"timesteps":[%[1]q],"sigmas":%[1]q,"original_size":[%[1]q],"n":%[1]q,"width":%[1]q,%[1]q:1,"ids":[%[1]q],"all":%[1]q}`
	for _, c := range []struct{ method, path, kind, body string }{
		{"POST", "/generate", json, strange}, {"POST", "/refine", json, strange},
		{"POST", "/v1/jobs", json, strange}, {"POST", "/v1/jobs/cancel", json, strange},
		{"POST", "/v1/jobs", json, `{"prompt":%q}`}, {"POST", "/v1/jobs", json, `{"prompt":"%s is refused late"}`},
		{"POST", "/v1/jobs", json, `{"prompt":"a","loras":[%q]}`}, {"POST", "/v1/jobs", json, `{"prompt":"a","loras":["known:%s"]}`},
		{"POST", "/v1/jobs", json, `{"prompt":"a <lora:%s:1>","prompt_style":"a1111"}`}, {"POST", "/v1/jobs", json, `{"prompt":"<lora:known:%s>","prompt_style":"a1111"}`},
		{"POST", "/v1/jobs", json, `{"prompt":"(((%s","prompt_style":"compel"}`}, {"POST", "/v1/jobs", json, `{"prompt":"a","image":%q}`},
		{"POST", "/v1/jobs", json, `{"prompt":"a","mask":%[1]q,"outpaint":{%[1]q:1,"left":%[1]q},"inpaint_fill":%[1]q,"image":%[1]q}`},
		{"POST", "/v1/jobs", json, `{"prompt":"a","pag_applied_layers":[%[1]q],"pag_scale":1,"freeu":%[1]q}`}, {"POST", "/v1/jobs", json, `{"prompt":"a","pag_applied_layers":[%[1]q],"pag_scale":1}`},
		{"POST", "/v1/jobs", json, `{"prompt":"a","hires":{"upscaler":%[1]q,%[1]q:1},"controls":[{"model":%[1]q,"image":%[1]q,"mode":%[1]q,"preprocessor":%[1]q},%[1]q]}`},
		{"POST", "/v1/jobs", json, `{"prompt":"a","ip_adapters":[{"model":"ip-adapter-plus","encoder":%[1]q,"image":%[1]q,"scales":{%[1]q:1}}]}`},
		{"POST", "/v1/jobs", json, `{"prompt":"a","ip_adapters":[{"model":"ip-adapter-plus","image":"` + inBase64(pngOf(t, 8, 8)) + `","scales":{%q:1}}]}`},
		{"POST", "/v1/preprocess", json, `{"image":%[1]q,"preprocessor":%[1]q,%[1]q:1}`},
		{"POST", "/v1/jobs", json, `{"prompt":%q`}, {"POST", "/v1/jobs", json, `%s`}, {"POST", "/v1/jobs", "text/plain; x=Tr0ub4dor", `%s`},
		{"POST", "/v1/images", "image/png", `%s`}, {"POST", "/v1/images", "application/Tr0ub4dor", `%s`},
		{"POST", "/v1/images", parts.FormDataContentType(), form.String()},
		{"GET", "/v1/jobs?state=Tr0ub4dor&model=Tr0ub4dor&limit=Tr0ub4dor&before=Tr0ub4dor", "", ""},
		{"GET", "/healthz?Tr0ub4dor=Tr0ub4dor", "", ""}, {"GET", "/metrics?Tr0ub4dor", "", ""},
	} {
		body := c.body
		if strings.Contains(body, "%") {
			body = fmt.Sprintf(body, secret)
		}
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(body))
		r.Header.Set("Content-Type", c.kind)
		for _, name := range []string{"User-Agent", "Idempotency-Key", "Authorization", "X-Forwarded-For", "Traceparent", "Cookie"} {
			r.Header.Set(name, secret+c.body)
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code == 202 {
			b.finished(t, decodeJob(t, w, 202).ID)
		} else if w.Code >= 500 {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, body, w.Code, w.Body)
		}
	}
	log := b.log.String()
	for line := range strings.Lines(log) {
		if strings.Contains(line, secret) {
			t.Errorf("log: %s", line)
		}
	}
	if n := strings.Count(log, "msg=request "); n < 21 || !strings.Contains(log, `msg="job failed"`) || !strings.Contains(log, `msg="job computed"`) {
		t.Errorf("%d requests in the log, no job failed, or none was computed:\n%s", n, log)
	}
	w := httptest.NewRecorder()
	b.metrics.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if strings.Contains(w.Body.String(), secret) {
		t.Errorf("metrics:\n%s", w.Body)
	}
}
