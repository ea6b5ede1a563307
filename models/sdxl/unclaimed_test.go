package sdxl

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestUnclaimedTensors draws with components that hold tensors which no model has, of types that none takes among them:
// the same image, and one warning a component.
func TestUnclaimedTensors(t *testing.T) {
	m := newModels(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	want, err := m.open("tiny").Generate(context.Background(), small())
	if err != nil {
		t.Fatal(err)
	}
	for file, names := range map[string][]string{
		"text_encoder/model.safetensors":           {"logit_scale", "vision_model.x.weight", "text_projection.weight"},
		"text_encoder_2/model.safetensors":         {"logit_scale"},
		"unet/diffusion_pytorch_model.safetensors": {"denoiser.sigmas", "model_ema.decay", "conv_in.lora.up"},
		"vae/diffusion_pytorch_model.safetensors":  {"loss.logvar", strings.Repeat("x", 900)},
	} {
		rewrite(t, filepath.Join(dir, filepath.FromSlash(file)), func(all map[string]weights.Tensor) {
			for _, name := range names {
				all[name] = weights.NewTensor(name, kernels.F32, []int{1}, []byte{0, 0, 0xc0, 0x7f})
			}
		})
	}
	var log bytes.Buffer
	drawsAs(t, dir, Options{Host: hostOf(m.dev), Log: slog.New(slog.NewTextHandler(&log, nil))}, want)
	warned := map[string]string{}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, "level=WARN") {
			continue
		}
		if len(line) > 600 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
		for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae"} {
			if strings.Contains(line, "component="+component+" ") {
				warned[component] += line
			}
		}
	}
	for component, want := range map[string][]string{
		"text_encoder": {"count=2", "logit_scale, vision_model.x.weight"}, "text_encoder_2": {"count=1", "logit_scale"},
		"unet": {"count=3", "conv_in.lora.up, denoiser.sigmas, model_ema.decay"}, "vae": {"count=2", "loss.logvar, xxx"},
	} {
		for _, w := range want {
			if strings.Count(warned[component], w) != 1 {
				t.Errorf("%s: %q, want %q once", component, warned[component], w)
			}
		}
	}
}

// TestOddWeightsFiles draws with a UNet in float64, beside a tensor of a type that no model takes, and white space
// around the header: the same image.
func TestOddWeightsFiles(t *testing.T) {
	m := newModels(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	want, err := m.open("tiny").Generate(context.Background(), small())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "unet", "diffusion_pytorch_model.safetensors")
	f, err := weights.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header, body := map[string]entry{"unused": {"F8_E4M3", []int{3}, [2]int{0, 3}}}, make([]byte, 3)
	for _, name := range f.Names() {
		_, shape, data, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		begin := len(body)
		for i := 0; i < len(data); i += 4 {
			x := math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))
			body = binary.LittleEndian.AppendUint64(body, math.Float64bits(float64(x)))
		}
		header[name] = entry{"F64", shape, [2]int{begin, len(body)}}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(header, "\n\t", " ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(append([]byte("\r\n\t "), text...), "\n \n"...)
	if err := os.WriteFile(file, append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), body...), 0o644); err != nil {
		t.Fatal(err)
	}
	drawsAs(t, dir, Options{Host: hostOf(m.dev)}, want)
}

// drawsAs opens a folder and draws the small request, which must give the image of want.
func drawsAs(t *testing.T, dir string, o Options, want *Result) {
	t.Helper()
	p, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got, err := p.Generate(context.Background(), small())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Images[0].Pix, want.Images[0].Pix) {
		t.Error("another image")
	}
}
