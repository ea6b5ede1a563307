package esrgan_test

import (
	"fmt"
	"image"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/esrgan"
)

const goldens = "../../testdata/goldens/esrgan.safetensors"

// keep is which values of the full models' images the golden has.
const keep = 41

// tolerance is of the norm of the difference, relative.
const tolerance = 1e-5

// stored are the small models' files, and what they hold.
var stored = map[string]esrgan.Config{
	"old":        {Kind: esrgan.RRDB, Features: 8, Growth: 4, Blocks: 2, Doublings: 2, Unshuffle: 1},
	"eight":      {Kind: esrgan.RRDB, Features: 5, Growth: 3, Blocks: 2, Doublings: 3, Unshuffle: 1},
	"bsrgan":     {Kind: esrgan.RRDB, Features: 8, Growth: 4, Blocks: 1, Doublings: 1, Unshuffle: 1},
	"unshuffle2": {Kind: esrgan.RRDB, Features: 8, Growth: 4, Blocks: 1, Doublings: 2, Unshuffle: 2},
	"unshuffle4": {Kind: esrgan.RRDB, Features: 8, Growth: 4, Blocks: 1, Doublings: 2, Unshuffle: 4},
	"compact4":   {Kind: esrgan.SRVGG, Features: 8, Blocks: 3, Shuffle: 4},
	"compact3":   {Kind: esrgan.SRVGG, Features: 8, Blocks: 3, Shuffle: 3},
	"compact1":   {Kind: esrgan.SRVGG, Features: 8, Blocks: 3, Shuffle: 1},
}

func processor(t testing.TB) kernels.Device {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

func opened(t testing.TB, dev kernels.Device, src kernels.Source) *esrgan.Upscaler {
	t.Helper()
	u, err := esrgan.Open(dev, src, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

// picture is a golden's image [1, 3, H, W].
func picture(g *golden.File, name string) *image.NRGBA {
	data, shape := g.Bytes(name)
	img := image.NewNRGBA(image.Rect(0, 0, shape[3], shape[2]))
	plane := shape[2] * shape[3]
	for i := range plane {
		copy(img.Pix[4*i:], []uint8{data[i], data[plane+i], data[2*plane+i], 255})
	}
	return img
}

// compare compares the network's values and the image with those of torch.
func compare(t *testing.T, g *golden.File, u *esrgan.Upscaler, name string, every int) {
	t.Helper()
	for i := 0; g.Has(fmt.Sprintf("%s.%d.image", name, i)); i++ {
		key := fmt.Sprintf("%s.%d.", name, i)
		img := picture(g, key+"image")
		values, width, height, err := u.Values(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		var got []float32
		for k := 0; k < len(values); k += every {
			c, at := k/(width*height), k%(width*height)
			got = append(got, values[3*at+c])
		}
		want, _ := g.Floats(key + "values")
		golden.Near(t, key+"values", got, want, tolerance)
		out, err := u.Upscale(t.Context(), img, nil)
		if err != nil {
			t.Fatal(err)
		}
		if out.Rect.Dx() != width || out.Rect.Dy() != height {
			t.Fatalf("%s: image of %v, want %d×%d", key, out.Rect, width, height)
		}
		pixels, _ := g.Bytes(key + "pixels")
		off := 0
		for n, v := range pixels {
			k := n * every
			c, at := k/(width*height), k%(width*height)
			d := int(out.Pix[4*at+c]) - int(v)
			if d < -1 || d > 1 || out.Pix[4*at+3] != 255 {
				t.Fatalf("%s: value %d of the image is %d, want %d", key, k, out.Pix[4*at+c], v)
			}
			if d != 0 {
				off++
			}
		}
		if off*1000 > len(pixels) {
			t.Errorf("%s: %d of %d bytes are off by one", key, off, len(pixels))
		}
	}
}

// TestStored compares every form of file with spandrel: names, wrappers, scales.
func TestStored(t *testing.T) {
	g, dev := golden.Open(t, goldens), processor(t)
	for name, want := range stored {
		u, err := esrgan.OpenFile(dev, "testdata/"+name+".pth", kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if u.Config != want {
			t.Errorf("%s is %+v, want %+v", name, u.Config, want)
		}
		compare(t, g, u.Upscaler, name, 1)
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFull compares the published sizes.
func TestFull(t *testing.T) {
	g, dev := golden.Open(t, goldens), processor(t)
	for name, c := range map[string]esrgan.Config{"full": esrgan.X4Plus, "compact": esrgan.GeneralX4} {
		u := opened(t, dev, esrgan.Synthetic(c, kernels.F16))
		if u.Config != c {
			t.Errorf("%s is %+v, want %+v", name, u.Config, c)
		}
		compare(t, g, u, name, keep)
	}
}
