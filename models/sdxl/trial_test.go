package sdxl

import (
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestTrial tries models as they are, and with a number in one tensor that is not finite or makes the computation
// overflow.
func TestTrial(t *testing.T) {
	m := newModels(t)
	for _, c := range []struct {
		model, file, tensor string
		value               float64
		want                []string // in the error; none where the model draws
	}{
		{"tiny", "", "", 0, nil},
		{"tiny-refiner", "", "", 0, nil},
		{"tiny", "unet/diffusion_pytorch_model.safetensors", "conv_out.bias", math.NaN(), []string{"conv_out", "weights hold NaN or Inf: unet conv_out.bias"}},
		{"tiny", "vae/diffusion_pytorch_model.safetensors", "encoder.conv_in.bias", math.Inf(1), []string{"vae encoder.conv_in.bias"}},
		{"tiny", "text_encoder_2/model.safetensors", "text_model.embeddings.token_embedding.weight", math.Inf(-1), []string{"weights hold NaN or Inf: text_encoder_2 text_model.embeddings.token_embedding.weight"}},
		{"tiny", "vae/diffusion_pytorch_model.safetensors", "decoder.mid_block.resnets.0.conv2.bias", 3e38, []string{"decoder", "NaN"}},
		{"tiny-refiner", "vae/diffusion_pytorch_model.safetensors", "quant_conv.bias", math.NaN(), []string{"vae quant_conv.bias"}},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := Synthesise(t.Context(), c.model, kernels.F32, dir); err != nil {
			t.Fatal(err)
		}
		if c.file != "" {
			rewrite(t, filepath.Join(dir, filepath.FromSlash(c.file)), func(all map[string]weights.Tensor) {
				x := all[c.tensor]
				old, err := x.Data()
				if err != nil {
					t.Fatal(err)
				}
				data := append([]byte{}, old...)
				binary.LittleEndian.PutUint32(data[len(data)-4:], math.Float32bits(float32(c.value))) // of a table: a row that the prompt does not read
				all[c.tensor] = weights.NewTensor(c.tensor, kernels.F32, x.Shape, data)
			})
		}
		p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev)})
		if err != nil {
			t.Fatal(err)
		}
		err = p.Trial(t.Context())
		if (err == nil) != (c.want == nil) {
			t.Errorf("%+v: error %v", c, err)
		}
		for _, want := range c.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want %q", c, err, want)
			}
		}
		if c.value == 3e38 && !errors.Is(err, kernels.ErrNotFinite) {
			t.Errorf("an overflow: error %v", err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
