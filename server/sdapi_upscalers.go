package server

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/sdxl"
)

// The upscalers that need no model.
const (
	sdNone    = "None"
	sdLanczos = "Lanczos"
	sdNearest = "Nearest"
)

var sdUpscalerNames = []string{sdNone, sdLanczos, sdNearest}

// sdUpscalers are the upscalers, of which files are called as the folder has them, without their extension.
func (s *Server) sdUpscalers() (any, error) {
	var list []sdUpscaler
	for _, name := range sdUpscalerNames {
		list = append(list, sdUpscaler{Name: name, Scale: 4})
	}
	files := s.upscalerFiles()
	names, err := files.all()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		at := files.find(&fields{}, "", name)
		kind, scale, err := sdxl.DescribeUpscaler(at)
		if err != nil { // of no use to a client
			continue
		}
		file := path.Join(path.Dir(name), filepath.Base(at))
		list = append(list, sdUpscaler{Name: name, ModelName: &kind, ModelPath: &file, Scale: float64(scale)})
	}
	return list, nil
}

// sdExtras is what extra-single-image and extra-batch-images do with an image.
type sdExtras struct {
	upscaler, second sdChosen
	visible          float64 // of second; 0 without one
	by               float64 // 0 goes by the size
	size             image.Point
	crop             bool
}

// sdChosen is an upscaler that a request names.
type sdChosen struct {
	name string // A1111's
	path string // of a model; "" of others
}

// sdExtras reads the fields that both routes have.
func (s *Server) sdExtras(f *fields) (e sdExtras, err error) {
	files := s.upscalerFiles()
	models, err := files.all()
	if err != nil {
		return e, err
	}
	known := slices.Concat(sdUpscalerNames, models)
	choose := func(field string) (c sdChosen) {
		f.notes.words(field, sdUpscalerNames)
		c.name = or(f.optionalText(field), sdNone)
		switch {
		case slices.Contains(models, c.name):
			c.path = files.find(f, field, c.name)
		case !slices.Contains(known, c.name) && err == nil && len(f.problems) == 0:
			err = sdRefuse(badValue, "Upscaler not found: "+field, " is %q: must be one of %s", beginning(c.name), wordList(known))
		}
		return c
	}
	visible := interval{min: 0, max: 1}
	for _, field := range []string{"gfpgan_visibility", "codeformer_visibility"} {
		if f.number(field, visible, 0) > 0 && err == nil {
			err = &failure{kind: notImplemented, detail: field + ": goxl has no restoration of faces"}
		}
	}
	e.upscaler, e.second = choose("upscaler_1"), choose("upscaler_2")
	if e.visible = f.number("extras_upscaler_2_visibility", visible, 0); e.second.name == sdNone {
		e.visible = 0
	}
	mode := f.integer("resize_mode", limits{0, 1, 0}, 0)
	by := f.number("upscaling_resize", interval{min: 0, max: sdxl.MaxSide, aboveMin: true}, 2)
	side := limits{1, sdxl.MaxSide, 0}
	e.size = image.Pt(int(f.integer("upscaling_resize_w", side, 512)), int(f.integer("upscaling_resize_h", side, 512)))
	e.crop = f.boolean("upscaling_crop", true)
	if mode == 0 {
		e.by = by
	}
	if problems := f.err(); problems != nil {
		return e, problems
	}
	return e, err
}

// needsDevice reports whether a model enlarges the images.
func (e sdExtras) needsDevice() bool {
	return e.upscaler.path != "" || e.upscaler.name != sdNone && e.visible > 0 && e.second.path != ""
}

// sdEnlarged is what an image of a size is brought to, by A1111's postprocessing (scripts/postprocessing_upscale.py and
// modules/upscaler.py), with what that says of it.
type sdEnlarged struct {
	by     float64
	target image.Point // sides of multiples of 8, which are cropped then
	info   string
}

// enlarged says what an image comes to. Its error is about the image.
func (e sdExtras) enlarged(size image.Point) (to sdEnlarged, err error) {
	var info []string
	if to.by = e.by; to.by == 0 {
		to.by = max(float64(e.size.X)/float64(size.X), float64(e.size.Y)/float64(size.Y))
		info = append(info, fmt.Sprintf("Postprocess upscale to: %dx%d", e.size.X, e.size.Y))
	} else {
		info = append(info, "Postprocess upscale by: "+strconv.FormatFloat(to.by, 'f', -1, 64))
	}
	if e.crops() {
		info = append(info, "Postprocess crop to: "+fmt.Sprintf("%dx%d", e.size.X, e.size.Y))
	}
	info = slices.Insert(info, 1, "Postprocess upscaler: "+e.upscaler.name)
	if e.visible > 0 {
		info = append(info, "Postprocess upscaler 2: "+e.second.name)
	}
	to.info = strings.Join(info, ", ")
	to.target = image.Pt(int(float64(size.X)*to.by)/8*8, int(float64(size.Y)*to.by)/8*8)
	if w, h := to.target.X, to.target.Y; min(w, h) < 8 || max(w, h) > sdxl.MaxSide {
		return to, fmt.Errorf("the result has %d×%d pixels: must be 8 to %d a side", w, h, sdxl.MaxSide)
	}
	return to, nil
}

// crops reports whether the result has a size of its own.
func (e sdExtras) crops() bool { return e.by == 0 && e.crop }

// filtered enlarges an image by filters alone.
func (e sdExtras) filtered(img *image.NRGBA, to sdEnlarged) *image.NRGBA {
	out := to.filter(img, e.upscaler.name)
	if e.visible > 0 {
		if second := to.filter(img, e.second.name); out != img {
			resample.Blend(out, second, e.visible)
		}
	}
	return e.cropped(out)
}

// filter enlarges an image by one filter.
func (to sdEnlarged) filter(img *image.NRGBA, name string) *image.NRGBA {
	size := img.Bounds().Size()
	resize := resample.Lanczos
	if name == sdNearest {
		resize = resample.Nearest
	}
	if size.X < to.target.X || size.Y < to.target.Y {
		img = resize(img, int(float64(size.X)*to.by), int(float64(size.Y)*to.by))
	}
	if img.Bounds().Size() != to.target {
		img = resample.Lanczos(img, to.target.X, to.target.Y)
	}
	return img
}

// cropped is the middle of an image that was enlarged, where a size is asked for.
func (e sdExtras) cropped(img *image.NRGBA) *image.NRGBA {
	if !e.crops() {
		return img
	}
	size := img.Bounds().Size()
	out := image.NewNRGBA(image.Rectangle{Max: e.size})
	draw.Draw(out, out.Bounds(), image.NewUniform(color.NRGBA{A: 255}), image.Point{}, draw.Src)
	draw.Draw(out, img.Bounds().Add(image.Pt(e.size.X/2-size.X/2, e.size.Y/2-size.Y/2)), img, image.Point{}, draw.Src)
	return out
}
