package sdxl

import (
	"bytes"
	"errors"
	"image"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
)

// smallTAESD is the small model of tools/reference/taesd.py.
const smallTAESD = `{"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [12, 12, 12, 12], "decoder_block_out_channels": [12, 12, 12, 12],
 "num_encoder_blocks": [1, 2, 1, 2], "num_decoder_blocks": [2, 1, 2, 1]}`

// writeTAESD writes a folder with a small TAESD's config.json and weights, and returns it. rename gives the names in the
// file; nil leaves them.
func writeTAESD(t testing.TB, config, file string, rename func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	c, err := taesd.ParseConfig([]byte(config), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	var src kernels.Source = weights.Synthetic("taesd", nn.Shapes(taesd.New(c)), kernels.F32)
	if rename != nil {
		src = weights.Rename(src, rename)
	} else if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	tensors, err := weights.Tensors(src)
	if err == nil {
		err = weights.Write(filepath.Join(dir, file), tensors, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// original renames a decoder as the original file has it, and drops the encoder.
func original(name string) string {
	rest, ok := strings.CutPrefix(name, "decoder.layers.")
	if !ok {
		return ""
	}
	number, tensor, _ := strings.Cut(rest, ".")
	k, _ := strconv.Atoi(number)
	return strconv.Itoa(k+1) + "." + tensor
}

const diffusersWeights = "diffusion_pytorch_model.safetensors"

// TestTAESD decodes by a TAESD: latents are those of the model without it, images what diffusers' AutoencoderTiny makes
// of them, from every form of its files. The refiner has its base's.
func TestTAESD(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	plain := onHost(t, m, host, "tiny")
	want, err := plain.Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	folder := writeTAESD(t, smallTAESD, diffusersWeights, nil)
	decoder := writeTAESD(t, smallTAESD, originalTAESD, original)
	var first *Result
	for _, path := range []string{folder, filepath.Join(folder, diffusersWeights), decoder, filepath.Join(decoder, originalTAESD)} {
		p, err := Open(t.Context(), "synth:tiny", Options{Host: host, TAESD: path})
		if err != nil {
			t.Fatal(err)
		}
		r := small()
		got, err := p.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Latents.Data, want.Latents.Data) {
			t.Errorf("%s: other latents than without TAESD", path)
		}
		if got.Parameters.TAESD != filepath.Base(path) || got.Parameters.VAE != "" {
			t.Errorf("%s: the parameters say TAESD %q, VAE %q", path, got.Parameters.TAESD, got.Parameters.VAE)
		}
		if first == nil {
			first = got
			if slices.Equal(got.Images[0].Pix, want.Images[0].Pix) {
				t.Error("the image is the VAE's")
			}
		} else if !slices.Equal(got.Images[0].Pix, first.Images[0].Pix) {
			t.Errorf("%s: another image", path)
		}
		images, err := p.Decode(t.Context(), got.Latents)
		if err != nil || !slices.Equal(images[0].Pix, got.Images[0].Pix) {
			t.Errorf("%s: Decode: %v, or another image", path, err)
		}
		refiner, err := refinerOf(t, p, "synth:tiny-refiner")
		if err != nil {
			t.Fatal(err)
		}
		if refiner.TAESD != p.TAESD {
			t.Error("the refiner has no TAESD")
		}
		if q, err := refiner.Resolve(Request{Prompt: "a lighthouse", Image: gradient(48, 40)}); err != nil || q.TAESD != filepath.Base(path) {
			t.Errorf("the refiner: %v, TAESD %q", err, q.TAESD)
		}
		redrawn, err := refiner.Generate(t.Context(), Request{Prompt: "a lighthouse", Image: gradient(48, 40), Seed: new(uint64(1)), Steps: 4})
		if err != nil || redrawn.Images[0].Rect.Dx() != 48 {
			t.Errorf("the refiner: %v", err)
		}
		if err := errors.Join(refiner.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestTAESDTiles decodes the same latents with memory for the whole image and with two thirds of that, in tiles, without a
// watermark and with one.
func TestTAESDTiles(t *testing.T) {
	t.Parallel()
	folder := writeTAESD(t, smallTAESD, diffusersWeights, nil)
	x := nn.NewTensor(1, 4, 96, 144)
	scheduler.NewGenerator(3).Randn(x.Data)
	decode := func(limit int64, watermark bool) (img *image.NRGBA, peak int64, log string) {
		dev, err := cpu.New(cpu.Options{Memory: limit})
		if err != nil {
			t.Fatal(err)
		}
		var lines bytes.Buffer
		p, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(dev, slog.New(slog.NewTextHandler(&lines, nil))), TAESD: folder})
		if err != nil {
			t.Fatal(err)
		}
		if img, err = p.decode(t.Context(), x, 0, watermark, func() {}, nil); err != nil {
			t.Fatal(err)
		}
		m, err := dev.Memory()
		if err := errors.Join(err, p.Close(), dev.Close()); err != nil {
			t.Fatal(err)
		}
		return img, m.Peak, lines.String()
	}
	whole, peak, log := decode(0, false)
	if strings.Contains(log, "tiles") {
		t.Fatalf("tiles with all the memory: %s", log)
	}
	var images []*image.NRGBA
	for _, watermark := range []bool{false, true} {
		got, least, log := decode(peak*2/3, watermark)
		images = append(images, got)
		if !strings.Contains(log, "tile=512") || least > peak*2/3 || got.Rect != whole.Rect {
			t.Errorf("watermark %v: a peak of %d of %d bytes, an image of %v: %s", watermark, least, peak, got.Rect, log)
		}
		var off int // seams change an image, but little
		for i, v := range whole.Pix {
			d := int(got.Pix[i]) - int(v)
			off += max(d, -d)
		}
		if mean := float64(off) / float64(len(whole.Pix)); mean > 3 || off == 0 {
			t.Errorf("watermark %v: bytes are off by %.2f in the mean", watermark, mean)
		}
	}
	if slices.Equal(images[0].Pix, images[1].Pix) {
		t.Error("no watermark")
	}
}

// TestTAESDGolden: Model.Decode of the golden's latents gives the pixels of diffusers' image processor, within one of
// 255 where a value lies between two.
func TestTAESDGolden(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	p, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(m.dev), TAESD: writeTAESD(t, smallTAESD, diffusersWeights, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	g := golden.Open(t, testdata+"/goldens/taesd.safetensors")
	data, shape := g.Floats("small.decode.0.latents")
	images, err := p.Decode(t.Context(), &Tensor{Shape: shape, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := g.Bytes("small.decode.0.pixels")
	off := 0
	for i, v := range want {
		if d := int(images[0].Pix[i/3*4+i%3]) - int(v); d < -1 || d > 1 {
			t.Fatalf("byte %d is off by %d", i, d)
		} else if d != 0 {
			off++
		}
	}
	if off > len(want)/1000 {
		t.Errorf("%d of %d bytes are off by one", off, len(want))
	}
}

// TestTAESDTaps: the decoder's taps are TAESD's own; those of the VAE are the encoder's alone then.
func TestTAESDTaps(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	p, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(m.dev), TAESD: writeTAESD(t, smallTAESD, diffusersWeights, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var paths []string
	read := func(path string, _ *nn.Tensor) { paths = append(paths, path) }
	r := small()
	r.Image, r.Strength, r.Width, r.Height = gradient(48, 40), 0.5, 0, 0
	r.Taps = Taps{VAE: []nn.Tap{{Path: "encoder.conv_in", Read: read}}, TAESD: []nn.Tap{{Path: "decoder.layers.2", Read: read}}}
	if _, err := p.Generate(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if want := []string{"encoder.conv_in", "decoder.layers.2"}; !slices.Equal(paths, want) {
		t.Errorf("read %q, want %q", paths, want)
	}
	r.Taps.TAESD[0].Path = "decoder.layers.99"
	if _, err := p.Generate(t.Context(), r); err == nil || !strings.Contains(err.Error(), "decoder.layers.99") {
		t.Errorf("a path that is not there: %v", err)
	}
	found, err := p.Check(t.Context(), CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(c ComponentCheck) bool { return c.Component == "taesd.decoder" }) {
		t.Errorf("Check leaves TAESD out: %+v", found)
	}
}

// TestTAESDErrors names what Options.TAESD is instead of a TAESDXL. Nothing stays managed.
func TestTAESDErrors(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	folder := m.folder("tiny-b")
	sd3 := strings.Replace(smallTAESD, "{", `{"latent_channels": 16, `, 1)
	shallow := strings.ReplaceAll(strings.ReplaceAll(smallTAESD, "[12, 12, 12, 12]", "[12, 12, 12]"), ", 2]", "]")
	shallow = strings.Replace(shallow, "[2, 1, 2, 1]", "[2, 1, 2]", 1)
	encoder := func(name string) string {
		if strings.HasPrefix(name, "encoder.") {
			return strings.TrimPrefix(name, "encoder.layers.")
		}
		return ""
	}
	cut := writeTAESD(t, smallTAESD, diffusersWeights, nil)
	if err := os.Truncate(filepath.Join(cut, diffusersWeights), 9000); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		t.TempDir():      "neither config.json nor " + originalTAESD,
		folder + "/none": "no such file",
		folder + "/vae":  `"_class_name" is "AutoencoderKL"`,
		folder + "/vae/diffusion_pytorch_model.safetensors": "must be a TAESD",
		writeTAESD(t, sd3, diffusersWeights, nil):           "16 latent channels: must be 4",
		writeTAESD(t, shallow, diffusersWeights, nil):       "4 pixels a side of a latent: must be 8",
		writeTAESD(t, smallTAESD, originalTAESD, encoder):   "must hold a decoder",
		cut: diffusersWeights,
	} {
		_, err := Open(t.Context(), "synth:tiny", Options{Host: host, TAESD: path})
		if err == nil || !strings.Contains(err.Error(), "TAESD") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want TAESD and %q", path, err, want)
		}
	}
	if n := len(host.memory.components); n != 0 {
		t.Errorf("%d components are managed after models that did not open", n)
	}
}
