package sdxl

import (
	"errors"
	"fmt"
	"image"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/esrgan"
)

// Upscale is the task of [Host.Upscale].
const Upscale Task = "upscale"

// Upscaling says how an image is enlarged, by a model of the ESRGAN family or a filter, without diffusion. An image that
// a model's scale does not bring to the size goes through it up to three times, and is resized by Lanczos, as A1111 does
// (modules/upscaler.py). Its zero value with an upscaler is usable.
type Upscaling struct {
	Upscaler string // a name of UpscaleFilters, in capital or small letters, or an ESRGAN file's path
	// Second is another upscaler, whose image is blended over the first one's; "" is none. SecondVisibility is from 0,
	// the first image alone, to 1.
	Second           string
	SecondVisibility float64

	Scale float64 // of both sides, above 0 and up to MaxUpscale; 0 is the file's own, of a filter 2
	// Width and Height take the place of Scale. One alone keeps the aspect ratio.
	Width, Height int
	Resize        Resize // what becomes of another aspect ratio than that of Width and Height; "" is ResizeCrop
	Tile          int    // pixels a side of the source that are enlarged at once, 32 or more; 0 is the device's default
}

const defaultFilterScale = 2

// upscalePasses are the sizes of what goes through a model of a scale until an image has reached a size, as A1111's loop
// has them: at most three, and one where the image has the size already.
func upscalePasses(from, reached Size, scale int) (list []Size) {
	for at := from; len(list) < 3; at = (Size{at.Height * scale, at.Width * scale}) {
		enough := at.Width >= reached.Width && at.Height >= reached.Height
		if enough && (len(list) > 0 || reached != from) || len(list) > 0 && scale == 1 {
			break
		}
		list = append(list, at)
	}
	return list
}

// UpscaleFilters are the upscalers that need no file.
func UpscaleFilters() []string {
	names := keys(filters)
	slices.Sort(names)
	return names
}

// IsUpscaleFilter reports whether a name is one of UpscaleFilters, in capital or small letters.
func IsUpscaleFilter(name string) bool { return filters[strings.ToLower(name)] != nil }

// DescribeUpscaler reads an ESRGAN file's architecture, by its name, and by how much it multiplies the sides of an image.
func DescribeUpscaler(path string) (kind string, scale int, err error) {
	c, err := esrgan.DescribeFile(path)
	if err != nil {
		return "", 0, err
	}
	return string(c.Kind), c.Scale(), nil
}

// Files are the fields that name files.
func (u *Upscaling) Files() (list []*string) {
	for _, name := range []*string{&u.Upscaler, &u.Second} {
		if *name != "" && !IsUpscaleFilter(*name) {
			list = append(list, name)
		}
	}
	return list
}

// UpscaleParameters say how an image was enlarged; Parameters.Width and Height are what it was brought to.
type UpscaleParameters struct {
	Upscaler         string  `json:"upscaler"`                // a file's name without its folder
	Hash             string  `json:"upscaler_hash,omitempty"` // of a file, the first ten digits of its SHA-256
	Second           string  `json:"upscaler_2,omitempty"`
	SecondHash       string  `json:"upscaler_2_hash,omitempty"`
	SecondVisibility float64 `json:"upscaler_2_visibility,omitempty"`
	Scale            float64 `json:"scale,omitempty"` // 0 where sizes were given
	Tile             int     `json:"tile,omitempty"`
	FLOPs            float64 `json:"flops,omitempty"` // that the models take; 0 of filters
}

// upscalePlan is a resolved Upscaling.
type upscalePlan struct {
	Parameters
	target    Size // of the result
	reached   Size // that the passes must reach before it is resized to target
	upscalers []upscaler
}

// upscaler is one of the two of a plan.
type upscaler struct {
	filter string // "" is a file
	path   string
	passes []Size // the sizes that go into the model
}

// Resolve checks an upscaling of an image of a size, reads what its files are, and says what it comes to. A file that
// can't be used is an error of the field upscaler or upscaler_2.
func (u Upscaling) Resolve(from Size) (Parameters, error) {
	plan, err := u.plan(from)
	if err != nil {
		return Parameters{}, err
	}
	return plan.Parameters, nil
}

func (u Upscaling) plan(from Size) (*upscalePlan, error) {
	if min(from.Width, from.Height) < 1 || max(from.Width, from.Height) > MaxSide {
		return nil, bad("image", fmt.Sprintf("%d×%d pixels", from.Width, from.Height), "1 to %d pixels a side", MaxSide)
	}
	p := &UpscaleParameters{Tile: u.Tile}
	plan := &upscalePlan{Parameters: Parameters{Task: Upscale, Images: 1, ImagesPerPrompt: 1, Upscale: p}}
	if err := esrgan.CheckTiles(u.Tile, upscaleOverlap(u.Tile)); err != nil || u.Tile > MaxSide {
		return nil, bad("tile", u.Tile, "%d to %d, or 0", esrgan.Least, MaxSide)
	}
	first, err := describeUpscaler("upscaler", u.Upscaler)
	if err != nil {
		return nil, err
	}
	scale := float64(defaultFilterScale)
	if first.file != nil {
		scale = float64(first.file.Scale())
	}
	if err := u.resolveSize(plan, from, scale); err != nil {
		return nil, err
	}
	p.Upscaler, p.Hash = first.name, first.hash
	if err := plan.add(first, from); err != nil {
		return nil, err
	}
	switch {
	case !(u.SecondVisibility >= 0 && u.SecondVisibility <= 1):
		return nil, bad("upscaler_2_visibility", u.SecondVisibility, "0 to 1")
	case u.Second == "" || u.SecondVisibility == 0:
		return plan, nil
	}
	second, err := describeUpscaler("upscaler_2", u.Second)
	if err != nil {
		return nil, err
	}
	p.Second, p.SecondHash, p.SecondVisibility = second.name, second.hash, u.SecondVisibility
	return plan, plan.add(second, from)
}

// upscaleOverlap is what tiles of so many pixels share.
func upscaleOverlap(tile int) int {
	if tile == 0 {
		return esrgan.DefaultOverlap
	}
	return min(esrgan.DefaultOverlap, tile/2)
}

// describedUpscaler is what an upscaler's name stands for.
type describedUpscaler struct {
	field      string
	name, hash string // as parameters have them
	filter     string // "" is a file
	path       string
	file       *esrgan.Config // nil of a filter
}

// describeUpscaler reads what an upscaler is.
func describeUpscaler(field, name string) (d describedUpscaler, err error) {
	d.field = field
	if IsUpscaleFilter(name) {
		d.filter = strings.ToLower(name)
		d.name = d.filter
		return d, nil
	}
	d.path, d.name = name, filepath.Base(name)
	allowed := "one of " + strings.Join(UpscaleFilters(), ", ") + ", or an ESRGAN file"
	if name == "" {
		return d, bad(field, name, "%s", allowed)
	}
	c, err := esrgan.DescribeFile(name)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) { // the value has the path
			err = path.Err
		}
		return d, &RequestError{Field: field, Value: name, Allowed: allowed, Err: err}
	}
	hash := hashOfFile(name)
	d.hash = hash[:min(10, len(hash))]
	d.file = &c
	return d, nil
}

// resolveSize finds the result's size, and that which it is resized from.
func (u Upscaling) resolveSize(plan *upscalePlan, from Size, own float64) error {
	for _, side := range []struct {
		field string
		value int
	}{{"width", u.Width}, {"height", u.Height}} {
		if side.value < 0 || side.value > MaxSide {
			return bad(side.field, side.value, "1 to %d, or 0", MaxSide)
		}
	}
	by := func(scale float64) Size {
		scaled := func(side int) int { return int(math.Round(float64(side) * scale)) }
		return Size{scaled(from.Height), scaled(from.Width)}
	}
	switch resize := u.Resize; {
	case resize != "" && !slices.Contains(Resizes(), resize):
		return bad("resize", resize, "one of %v", Resizes())
	case u.Scale != 0 && (u.Width != 0 || u.Height != 0):
		return bad("scale", u.Scale, "absent where there is a width or a height")
	case u.Scale != 0 && !(u.Scale > 0 && u.Scale <= MaxUpscale):
		return bad("scale", u.Scale, "above 0, up to %d", MaxUpscale)
	case u.Width == 0 && u.Height == 0:
		plan.Upscale.Scale = u.Scale
		if u.Scale == 0 {
			plan.Upscale.Scale = own
		}
		plan.target = by(plan.Upscale.Scale)
	case u.Height == 0:
		plan.target = Size{by(float64(u.Width) / float64(from.Width)).Height, u.Width}
	case u.Width == 0:
		plan.target = Size{u.Height, by(float64(u.Height) / float64(from.Height)).Width}
	default:
		plan.target, plan.Resize = Size{u.Height, u.Width}, resize
		if resize == "" {
			plan.Resize = ResizeCrop
		}
	}
	t := plan.target
	if min(t.Width, t.Height) < 1 || max(t.Width, t.Height) > MaxSide {
		return bad("scale", fmt.Sprintf("%g, which gives %d×%d", plan.Upscale.Scale, t.Width, t.Height), "one that gives sides of 1 to %d", MaxSide)
	}
	plan.Width, plan.Height, plan.reached = t.Width, t.Height, t
	across, down := float64(t.Width)/float64(from.Width), float64(t.Height)/float64(from.Height)
	switch plan.Resize { // which is resized from what keeps the aspect ratio
	case ResizeCrop:
		plan.reached = by(max(across, down))
	case ResizeFill:
		plan.reached = by(min(across, down))
	}
	return nil
}

// add plans the passes of an upscaler.
func (plan *upscalePlan) add(d describedUpscaler, from Size) error {
	u := upscaler{filter: d.filter, path: d.path}
	if d.file != nil {
		scale := d.file.Scale()
		u.passes = upscalePasses(from, plan.reached, scale)
		for _, at := range u.passes {
			plan.Upscale.FLOPs += float64(d.file.FLOPs(int64(at.Width) * int64(at.Height)))
			if w, h := int64(at.Width)*int64(scale), int64(at.Height)*int64(scale); w*h > esrgan.MaxPixels {
				return bad(d.field, d.name, "one that comes to %d×%d pixels by way of at most %d pixels: this one gives %d×%d on the way",
					plan.reached.Width, plan.reached.Height, esrgan.MaxPixels, w, h)
			}
		}
	}
	plan.upscalers = append(plan.upscalers, u)
	return nil
}

// imageSize is an image's size as a Size.
func imageSize(img image.Image) Size {
	b := img.Bounds()
	return Size{b.Dy(), b.Dx()}
}
