//go:build emulate

package cuda

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	checkpoint "github.com/goxl/goxl/nn/weights"
)

// loud is an autoencoder whose residual stream is 2^by times as large, which its norms undo.
type loud struct {
	kernels.Source
	by int
}

func (s loud) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := s.Source.Tensor(name)
	contains := func(part string) bool { return strings.Contains(name, part) }
	if err != nil || !(contains(".conv_in.") || contains(".conv2.") || contains(".to_out.") ||
		strings.HasSuffix(name, ".bias") && (contains(".conv_shortcut.") || contains("samplers."))) {
		return dtype, shape, data, err
	}
	var out []byte
	for i := 0; i < len(data); i += 4 {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v*float32(math.Ldexp(1, s.by))))
	}
	return dtype, shape, out, nil
}

// TestEmulatedOverflow decodes with a residual stream beyond float16's range: within the range of the autoencoder's
// scaling, beyond it, where bfloat16 takes over, and beyond every range.
func TestEmulatedOverflow(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(drv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	exact, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../models/sdxl/synthetic/tiny/vae/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := vae.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	z := vae.NewImage(5, 6, c.LatentChannels)
	for i := range z.Data {
		z.Data[i] = float32(math.Sin(float64(i)))
	}
	decode := func(dev kernels.Device, by int) (vae.Image, []error, error) {
		t.Helper()
		a, err := vae.Open(dev, loud{checkpoint.Synthetic("vae", nn.Shapes(vae.New(c)), kernels.F32), by}, c, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		var warned []error
		a.OnOverflow(func(err error) { warned = append(warned, err) })
		out, err := a.Decode(context.Background(), z)
		before := len(warned)
		image, imageErr := a.DecodeImage(context.Background(), z)
		if (err == nil) != (imageErr == nil) || before != len(warned)-before {
			t.Errorf("2^%d: values overflowed %v, %v; pixels %v, %v", by, warned[:before], err, warned[before:], imageErr)
		}
		if err == nil && !bytes.Equal(image.Pix, out.Pixels().Pix) {
			t.Errorf("2^%d: pixels are not those of the values", by)
		}
		return out, warned[:before], err
	}
	for _, test := range []struct {
		by     int
		warned bool
		least  float64 // dB
	}{{0, false, 50}, {16, false, 50}, {24, true, 35}} {
		want, _, err := decode(exact, test.by)
		if err != nil {
			t.Fatal(err)
		}
		got, warned, err := decode(d, test.by)
		if err != nil {
			t.Fatal(err)
		}
		var square float64
		for i, v := range want.Data {
			square += math.Pow(float64(got.Data[i]-v), 2)
		}
		psnr := 10 * math.Log10(4*float64(len(want.Data))/square)
		if !(psnr >= test.least) || (len(warned) > 0) != test.warned {
			t.Errorf("2^%d: %.1f dB, overflowed %v; want %v dB, %v", test.by, psnr, warned, test.least, test.warned)
		} else {
			t.Logf("2^%d: %.1f dB, overflowed %v", test.by, psnr, warned)
		}
	}
	if _, _, err := decode(d, 126); !errors.Is(err, kernels.ErrNotFinite) || !strings.HasPrefix(err.Error(), "decoder.") {
		t.Errorf("2^126: error %v, want one that names a node of the decoder", err)
	} else {
		t.Logf("as it should: %v", err)
	}
	if err := errors.Join(d.Close(), exact.Close()); err != nil {
		t.Error(err)
	}
}
