package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/sdxl"
)

var upscaleCommand = command{
	name: "upscale", summary: "enlarge an image with an ESRGAN model, or a filter", synopsis: "-model FILE -image in.png [-o out.png] [flags]",
	notes: `The model is an ESRGAN, Real-ESRGAN or BSRGAN file (RRDBNet), or a compact one of Real-ESRGAN
(SRVGGNetCompact), as safetensors or .pth; its scale is read from it. lanczos:SCALE and
nearest:SCALE are Pillow's filters, which need no file. Large images are enlarged in tiles that
overlap and go over into one another. What the source's texts say of how it was made is kept.

    goxl upscale -model RealESRGAN_x4plus.pth -image out.png -o large.png
    goxl upscale -model lanczos:2 -image out.png -o large.webp`,
	required: []string{"model", "image"},
	define: func(fs *flag.FlagSet) action {
		u := &upscaling{}
		name(fs, "model", "the upscaler: a `FILE`, lanczos:SCALE or nearest:SCALE, or for random weights "+strings.Join(synthUpscalers(), " or "), &u.model)
		name(fs, "image", "the PNG, JPEG or WebP `file` to enlarge, turned upright by its EXIF orientation; of an animation the first frame, of a transparent image the colours", &u.image)
		fs.StringVar(&u.out, "o", "out.png", "the PNG, JPEG or WebP `file` to write, by its extension, or - for a PNG on standard output")
		fs.IntVar(&u.quality, "quality", 95, "of JPEG and WebP, a `number` from 1 to 100")
		fs.IntVar(&u.tile, "tile", 0, fmt.Sprintf("`pixels` a side of the source that are enlarged at once, %d or more; 0 is %d, on the cpu %d; halved where the memory is too small", esrgan.Least, esrgan.DefaultTile, esrgan.DefaultHostTile))
		fs.IntVar(&u.overlap, "overlap", esrgan.DefaultOverlap, "`pixels` of the source that tiles share, at most half a tile")
		fs.BoolVar(&u.quiet, "quiet", false, "print no progress and no notes")
		u.device.Register(fs)
		return u.run
	},
}

// upscaling is the flags of upscale.
type upscaling struct {
	model, image, out      string
	quality, tile, overlap int
	quiet                  bool
	device                 cli.DeviceFlags
}

// syntheticUpscalers are those with random weights.
var syntheticUpscalers = map[string]esrgan.Config{"synth:esrgan": esrgan.X4Plus, "synth:esrgan-compact": esrgan.GeneralX4}

func synthUpscalers() []string { return slices.Sorted(maps.Keys(syntheticUpscalers)) }

func (u *upscaling) run(ctx context.Context, s streams, _ string) error {
	switch {
	case u.quality < 1 || u.quality > 100:
		return cli.Usagef("-quality %d: must be 1 to 100", u.quality)
	case u.tile < 0:
		return cli.Usagef("-tile %d: must be at least %d, or 0", u.tile, esrgan.Least)
	}
	if err := esrgan.CheckTiles(u.tile, u.overlap); err != nil {
		return cli.Usagef("-tile %d -overlap %d: %v", u.tile, u.overlap, err)
	}
	filter, err := sdxl.ParseFilter(u.model)
	if err != nil {
		return cli.Usagef("-model %s: %v", u.model, err)
	}
	out, err := s.resolve("o", u.out)
	if err != nil {
		return err
	}
	encode, extension := u.encoder(out)
	if err := errors.Join(out.checkExtension(extension), out.check(s)); err != nil {
		return err
	}
	data, err := readFile("image", u.image, maxImage)
	if err != nil {
		return err
	}
	img, texts, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		return fmt.Errorf("-image %s: %w", u.image, err)
	}
	large, err := u.enlarge(ctx, s, filter, img)
	if err != nil {
		return err
	}
	how := &sdxl.UpscaleParameters{Upscaler: filepath.Base(u.model), Scale: float64(large.Rect.Dx()) / float64(img.Rect.Dx())}
	if filter != nil {
		how.Upscaler, how.Scale = filter.Name, filter.Scale
	}
	file, err := encode(large, upscaled(texts, how))
	if err != nil {
		return fmt.Errorf("-o %s: %w", u.out, err)
	}
	if err := out.write(ctx, s, file); err != nil {
		return err
	}
	if out.kind != standardOutput {
		fmt.Fprintln(s.out, u.out)
	}
	return nil
}

// enlarge computes the result, by a filter if there is one.
func (u *upscaling) enlarge(ctx context.Context, s streams, filter *sdxl.Filter, img *image.NRGBA) (large *image.NRGBA, err error) {
	if filter != nil {
		return filter.Upscale(img)
	}
	notes := (&generateFlags{quiet: u.quiet}).notes(s)
	device, precision, err := u.device.Open(func(line string) { fmt.Fprintln(notes, line) })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	model, err := u.open(device, precision)
	if err != nil {
		return nil, fmt.Errorf("-model: %w", err)
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	model.Tile, model.Overlap = u.tile, u.overlap
	fmt.Fprintf(notes, "%v on %s\n", model.Config, device.Info().Name)
	start := time.Now()
	progress := newProgress(notes, !u.quiet && isTerminal(s.err), 1)
	defer progress.stop()
	large, err = model.Upscale(ctx, img, progress.tile)
	if err == nil {
		progress.stop()
		fmt.Fprintf(notes, "%d×%d pixels in %v\n", large.Rect.Dx(), large.Rect.Dy(), seconds(time.Since(start)))
	}
	return large, err
}

// upscaled are the texts of a source, and A1111's "extras" of what was done to it.
func upscaled(texts []imagefile.Text, how *sdxl.UpscaleParameters) []imagefile.Text {
	kept := slices.DeleteFunc(slices.Clone(texts), func(t imagefile.Text) bool { return t.Key == imagefile.ExtrasKey })
	for i, t := range kept {
		if t.Key == "UserComment" { // of a JPEG or WebP: the parameters, as a PNG has them
			kept[i].Key = "parameters"
		}
	}
	done := imagefile.Parameters{Parameters: sdxl.Parameters{Upscale: how}}
	return append(kept, imagefile.Text{Key: imagefile.ExtrasKey, Value: done.Postprocessing()})
}

// encoder is how the result is written, by the extension of its name, and the extension that stands for the format.
func (u *upscaling) encoder(o output) (encode func(*image.NRGBA, []imagefile.Text) ([]byte, error), extension string) {
	// Of texts, JPEG and WebP have one: the parameters.
	comment := func(texts []imagefile.Text) string {
		var parameters, extras string
		for _, t := range texts {
			switch t.Key {
			case "parameters":
				parameters = t.Value
			case imagefile.ExtrasKey:
				extras = t.Value
			}
		}
		if parameters == "" {
			return extras
		}
		return parameters + ", " + extras
	}
	switch extensions[strings.ToLower(filepath.Ext(o.name))] {
	case "JPEG":
		return func(img *image.NRGBA, texts []imagefile.Text) ([]byte, error) {
			return imagefile.EncodeJPEG(img, comment(texts), u.quality)
		}, ".jpg"
	case "WebP":
		return func(img *image.NRGBA, texts []imagefile.Text) ([]byte, error) {
			return imagefile.EncodeWebP(img, comment(texts), u.quality)
		}, ".webp"
	}
	return func(img *image.NRGBA, texts []imagefile.Text) ([]byte, error) {
		return imagefile.Encode(img, slices.DeleteFunc(texts, func(t imagefile.Text) bool { return !storable(t.Key) }))
	}, ".png"
}

// storable reports whether a PNG can have a text under a key, which those of damaged files may not be.
func storable(key string) bool {
	return len(key) > 0 && len(key) < 80 && strings.TrimSpace(key) == key && strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
