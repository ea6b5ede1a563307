package cuda

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn"
)

// checkResidency draws one image on devices with less and less memory: it stays the same while weights can be evicted,
// then the autoencoder works in tiles; of an image that is too large, an error says what is missing, and a smaller one
// still works.
func checkResidency(t *testing.T, open func(Options) *Device) {
	ctx := context.Background()
	draw := func(m *sdxl.Model, side int) ([]byte, error) {
		result, err := m.Generate(ctx, sdxl.Request{Prompt: "a red house", Steps: 1, Height: side, Width: side, Seed: new(uint64(7))})
		if err != nil {
			return nil, err
		}
		return result.Images[0].Pix, nil
	}
	const side, smaller, tooLarge = 256, 64, 2048
	var whole []byte
	var peak int64
	var same, evicting, tiled int
	for _, share := range []int{100, 80, 60} { // of what an image takes without a limit
		var log bytes.Buffer
		d := open(Options{Memory: peak * int64(share) / 100})
		logger := slog.New(slog.NewTextHandler(&log, nil))
		host, err := sdxl.NewHost(d, logger)
		if err != nil {
			t.Fatal(err)
		}
		p, err := sdxl.Open(ctx, "synth:tiny", sdxl.Options{Host: host, Log: logger})
		if err != nil {
			t.Fatal(err)
		}
		pixels, err := draw(p, side)
		if err == nil && share == 80 {
			pixels, err = draw(p, side) // with what the first evicted
		}
		m, memoryErr := d.Memory()
		switch {
		case memoryErr != nil:
			t.Fatal(memoryErr)
		case peak > 0 && m.Peak > peak*int64(share)/100:
			t.Errorf("limit %d%%: %d bytes were used", share, m.Peak)
		case err != nil:
			t.Fatalf("limit %d%%: %v", share, err)
		case strings.Contains(log.String(), "tiles"):
			tiled++
			_, err := draw(p, tooLarge)
			if !errors.Is(err, kernels.ErrMemory) {
				t.Errorf("%d pixels a side: %v", tooLarge, err)
			}
			var sizes *kernels.MemoryError
			if !errors.As(err, &sizes) || sizes.Needed <= sizes.Allowed || sizes.Allowed > peak*int64(share)/100 {
				t.Errorf("%v has the sizes %+v", err, sizes)
			}
			for _, want := range []string{"needed", "smaller size"} {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if _, err := draw(p, smaller); err != nil {
				t.Errorf("a smaller image after one too large: %v", err)
			}
		case peak == 0:
			whole, peak = pixels, m.Peak
			if strings.Contains(log.String(), "evicting=\"") {
				t.Errorf("without a limit:\n%s", &log)
			}
		case !bytes.Equal(pixels, whole):
			t.Errorf("limit %d%%: another image", share)
		default:
			same++
			if n := strings.Count(log.String(), "evicting="); n > strings.Count(log.String(), "evicting=nothing") {
				evicting++
			}
		}
		t.Logf("limit %d%%: peak %d, error %v\n%s", share, m.Peak, err, &log)
		if err := errors.Join(p.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if same == 0 || evicting == 0 || tiled == 0 {
		t.Errorf("%d limits gave the same image, %d of them by weights that were evicted, %d tiles: want some of each", same, evicting, tiled)
	}
}

func TestResidency(t *testing.T) {
	card(t, Options{}) // or skip
	checkResidency(t, func(o Options) *Device {
		d, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

// TestPoolOfBase adds up what an image of SDXL base at 1024×1024 keeps on the card when nothing is evicted.
func TestPoolOfBase(t *testing.T) {
	d := onHopper(t)
	programs := map[string]*program{"unet": step(t, d).program(t, d), "vae": decode(t, d).program(t, d)}
	for _, name := range []string{"text_encoder", "text_encoder_2"} {
		file := "../../models/sdxl/synthetic/base/" + name + "/config.json"
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config, err := clip.ParseConfig(data, file)
		if err != nil {
			t.Fatal(err)
		}
		model := clip.New(config)
		programs[name] = modelOf(t, d, model, func(b *nn.Builder) {
			states, pooled := model.Forward(b, b.Input("ids", kernels.Step, kernels.I32, 2, 77), b.Input("eos", kernels.Step, kernels.I32, 2), 0)
			b.Output("states", states)
			if pooled != nil {
				b.Output("pooled", pooled)
			}
		}).program(t, d)
	}
	var total, arena int64
	for name, p := range programs {
		f := p.Footprint()
		total += f.Weights + align(p.bytes) + align(p.inputs)
		arena = max(arena, f.Arena)
		t.Logf("%s: weights %d, values %d, arena %d", name, f.Weights, p.bytes, f.Arena)
	}
	const most = 8_500_000_000
	if total += arena; total > most {
		t.Errorf("%d bytes in all, want at most %d", total, int64(most))
	}
	t.Logf("%.2f GB in all", float64(total)/1e9)
}
