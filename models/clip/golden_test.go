package clip_test

import (
	"context"
	"os"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestGoldens compares both encoders of every tiny configuration with transformers.
func TestGoldens(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	for _, c := range []struct{ model, folder, component, seeds string }{
		{"tiny", "../sdxl/synthetic/tiny", "text_encoder", "text_encoder"},
		{"tiny", "../sdxl/synthetic/tiny", "text_encoder_2", "text_encoder_2"},
		{"tiny-b", "../../testdata/models/tiny-b", "text_encoder", "text_encoder"},
		{"tiny-b", "../../testdata/models/tiny-b", "text_encoder_2", "text_encoder_2"},
		{"tiny-c", "../../testdata/models/tiny-c", "text_encoder", "text_encoder"},
		{"tiny-c", "../../testdata/models/tiny-c", "text_encoder_2", "text_encoder_2"},
		{"tiny-refiner-own", "../../testdata/models/tiny-refiner-own", "text_encoder_2", "alt/text_encoder_2"},
	} {
		t.Run(c.model+"/"+c.component, func(t *testing.T) {
			file := c.folder + "/" + c.component + "/config.json"
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, err := clip.ParseConfig(data, file)
			if err != nil {
				t.Fatal(err)
			}
			src := weights.Synthetic(c.seeds, nn.Shapes(clip.New(config)), kernels.F32)
			e, err := clip.Open(dev, src, config, kernels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			g := golden.Open(t, "../../testdata/goldens/"+c.model+".safetensors")
			flat, shape := g.Ints(c.component + ".ids")
			ids := make([][]int32, shape[0])
			for i := range ids {
				ids[i] = flat[i*shape[1] : (i+1)*shape[1]]
			}
			hidden, pooled, err := e.Encode(context.Background(), ids, 0)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := g.Floats(c.component + ".hidden")
			golden.Near(t, "hidden", hidden, want, 1e-5)
			if config.WithProjection {
				want, _ := g.Floats(c.component + ".pooled")
				golden.Near(t, "pooled", pooled, want, 1e-5)
			}
		})
	}
}
