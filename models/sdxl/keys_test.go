package sdxl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// record is a line of a log.
type record struct{ Level, Msg, Component, File, Keys, Reason string }

// logged is a log that a test reads.
func logged(t *testing.T) (*slog.Logger, func() []record) {
	t.Helper()
	var b bytes.Buffer
	return slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn})), func() (all []record) {
		d := json.NewDecoder(&b)
		for d.More() {
			var r record
			if err := d.Decode(&r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return all
	}
}

// set gives keys of a JSON object values, as JSON has them.
func set(keys map[string]string) func(map[string]any) {
	return func(c map[string]any) {
		for key, value := range keys {
			c[key] = json.RawMessage(value)
		}
	}
}

// TestConfigKeys changes what diffusers and transformers take or leave out: the image is the same, and what was left
// out is logged, once a file.
func TestConfigKeys(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	want, err := m.open("tiny").Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	inEuler := small()
	inEuler.Scheduler = "euler_karras"
	wantEuler, err := m.open("tiny").Generate(t.Context(), inEuler)
	if err != nil {
		t.Fatal(err)
	}
	const encoder, unet, vae, sched, index = "text_encoder/config.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json", "model_index.json"
	for _, c := range []struct {
		file    string
		keys    map[string]string
		unknown string // that are logged
	}{
		{encoder, map[string]string{"id2label": `{"0": "LABEL_0"}`, "output_attentions": "false", "architectures": "null"}, ""},
		{encoder, map[string]string{"is_decoder": "false", "tie_word_embeddings": "true", "architectures": `["CLIPModel"]`}, "is_decoder, tie_word_embeddings"},
		{"text_encoder_2/config.json", map[string]string{"architectures": "null", "zebra": "{}"}, "zebra"},
		{"text_encoder_2/config.json", map[string]string{"architectures": `["CLIPTextModel"]`}, ""},
		{vae, map[string]string{"sample_size": "[64, 64]", "shift_factor": "0.0", "scaling": "2"}, "scaling"},
		{vae, map[string]string{"sample_size": "64.0", "use_quant_conv": "1", "norm_num_groups": "4.0"}, ""},
		{unet, map[string]string{"foo": "1", "only_cross_attention": "[false, false, false]"}, "foo"},
		{unet, map[string]string{"dual_cross_attention": "null", "resnet_out_scale_factor": "1.5", "cross_attention_norm": `"layer_norm"`, "sample_size": "[8, 8]"}, ""},
		{sched, map[string]string{"steps_offset": "1.0"}, ""},
		// The first three are keys of other classes.
		{sched, map[string]string{"noise_sampler_seed": "3", "shift": "3.0", "corrector_order": "2", "predict_epsilon": "true", "order": "2"}, "order, predict_epsilon"},
		{"tokenizer/tokenizer_config.json", map[string]string{"extra_special_tokens": "{}"}, ""},
		{"tokenizer/tokenizer_config.json", map[string]string{"extra_special_tokens": `{"x_token": "<|endoftext|>"}`}, ""},
		{"tokenizer_2/tokenizer_config.json", map[string]string{"extra_special_tokens": `{"x_token": "<new>"}`}, ""},
		{index, map[string]string{"_class_name": `"StableDiffusionXLInpaintPipeline"`}, ""},
		{index, map[string]string{"safety_checker": "[null, null]", "own_part": `["mine", "Part"]`, "own_option": "7"}, "own_option, own_part"},
	} {
		t.Run(c.file, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "model")
			if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
				t.Fatal(err)
			}
			edit(t, filepath.Join(dir, filepath.FromSlash(c.file)), set(c.keys))
			log, records := logged(t)
			p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev), Log: log})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			for _, run := range []struct {
				request Request
				want    *Result
			}{{small(), want}, {inEuler, wantEuler}} {
				got, err := p.Generate(t.Context(), run.request)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got.Latents.Data, run.want.Latents.Data) || !slices.Equal(got.Images[0].Pix, run.want.Images[0].Pix) {
					t.Errorf("%v: another image with scheduler %q", c.keys, run.request.Scheduler)
				}
			}
			logged := records()
			if c.unknown == "" {
				if len(logged) != 0 {
					t.Errorf("%v: warnings %+v", c.keys, logged)
				}
				return
			}
			component, _, inFolder := strings.Cut(c.file, "/")
			if !inFolder {
				component = "model"
			}
			if len(logged) != 1 || logged[0].Level != "WARN" || logged[0].Keys != c.unknown || logged[0].Component != component || logged[0].File != filepath.Join(dir, filepath.FromSlash(c.file)) {
				t.Errorf("%v: warnings %+v, want one of %s in %s", c.keys, logged, c.unknown, c.file)
			}
		})
	}
}

// TestTokenWithoutEmbedding has a token that the text encoder was not enlarged for: only a prompt that holds it is
// refused.
func TestTokenWithoutEmbedding(t *testing.T) {
	m := newModels(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	edit(t, dir+"/tokenizer_2/tokenizer_config.json", set(map[string]string{"extra_special_tokens": `{"x_token": "<new>"}`}))
	p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := small()
	r.Prompt = "a <new> lighthouse"
	_, err = p.Generate(t.Context(), r)
	var wrong *RequestError
	if !errors.As(err, &wrong) || wrong.Field != "prompt" || !strings.Contains(err.Error(), "<new>") {
		t.Errorf("%v, want a *RequestError of prompt", err)
	}
	r = small()
	r.NegativePrompt = &[]string{"<new>"}[0]
	if _, err = p.Generate(t.Context(), r); !errors.As(err, &wrong) || wrong.Field != "negative_prompt" {
		t.Errorf("%v, want a *RequestError of negative_prompt", err)
	}
	if _, err := p.Generate(t.Context(), small()); err != nil {
		t.Error(err)
	}
}

// TestUnsupportedScheduler opens folders whose own scheduler goxl can't run: a request must name another, which draws
// as it does elsewhere.
func TestUnsupportedScheduler(t *testing.T) {
	m := newModels(t)
	r := small()
	r.Scheduler = "dpmpp_2m"
	want, err := m.open("tiny").Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, value, named string }{
		{"_class_name", `"IPNDMScheduler"`, "IPNDMScheduler"},
		{"_class_name", `"SomebodysScheduler"`, "SomebodysScheduler"},
		{"interpolation_type", `"cubic"`, "interpolation_type"},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
			t.Fatal(err)
		}
		edit(t, dir+"/scheduler/scheduler_config.json", set(map[string]string{c.key: c.value}))
		log, records := logged(t)
		p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev), Log: log})
		if err != nil {
			t.Errorf("%s: %v", c.value, err)
			continue
		}
		defer p.Close()
		if logged := records(); len(logged) != 1 || logged[0].Level != "WARN" || logged[0].Component != "scheduler" || !strings.Contains(logged[0].Reason, c.named) {
			t.Errorf("%s: warnings %+v", c.value, logged)
		}
		_, err = p.Generate(context.Background(), small())
		var wrong *RequestError
		if !errors.As(err, &wrong) || wrong.Field != "scheduler" || !strings.Contains(err.Error(), c.named) || !strings.Contains(err.Error(), "euler_a, ") {
			t.Errorf("%s: %v, want a *RequestError of the scheduler that names it and others", c.value, err)
		}
		if strings.Contains(err.Error(), "1 to 0") {
			t.Error(err)
		}
		got, err := p.Generate(context.Background(), r)
		if err != nil {
			t.Errorf("%s: %v", c.value, err)
			continue
		}
		if !slices.Equal(got.Latents.Data, want.Latents.Data) {
			t.Errorf("%s: another image", c.value)
		}
	}
}

// TestHopelessScheduler refuses a folder whose scheduler no other can take the place of.
func TestHopelessScheduler(t *testing.T) {
	m := newModels(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	edit(t, dir+"/scheduler/scheduler_config.json", set(map[string]string{"beta_schedule": `"cosine"`}))
	if _, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev)}); err == nil || !strings.Contains(err.Error(), "beta_schedule") || !strings.Contains(err.Error(), "scheduler_config.json") {
		t.Errorf("%v, want an error of beta_schedule", err)
	}
}
