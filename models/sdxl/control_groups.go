package sdxl

import (
	"context"
	"fmt"
	"image"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/controlnet"
)

// modeOf is the number of a control's kind of image, 0 for a net that is no union.
func modeOf(c controlnet.Config, mode string) (int, error) {
	if !c.Union() {
		if mode != "" {
			return 0, fmt.Errorf("the mode is %q: must be absent, since the ControlNet is no union", mode)
		}
		return 0, nil
	}
	n, known := controlnet.Mode(mode)
	if !known {
		var err error
		if n, err = strconv.Atoi(mode); err != nil {
			n = -1
		}
	}
	if n >= 0 && n < c.ControlTypes {
		return n, nil
	}
	var names []string
	for i := range min(c.ControlTypes, len(controlnet.Modes)) {
		names = append(names, fmt.Sprintf("%d (%s)", i, strings.Join(controlnet.Modes[i], ", ")))
	}
	if known {
		return 0, fmt.Errorf("the mode is %q, which ProMax has: must be one of the net's own, %s", mode, strings.Join(names, ", "))
	}
	return 0, fmt.Errorf("the mode is %q: must be the name or number of the image's kind, one of %s", mode, strings.Join(names, ", "))
}

// controlGroup is what one evaluation of a ControlNet a step takes: a control, or those of one union.
type controlGroup struct {
	handle   *sideNetwork
	net      *controlnet.Network
	path     string
	guess    bool
	settings []ControlParameters // of each control image
	hints    []controlnet.Hint
	several  bool   // each image is scaled on its own: a union alone with several
	id       uint64 // tells it from groups of other runs
}

// groupControls opens a request's ControlNets, reads their images at the result's size, and joins those of one union.
// What it returns is to be released, with an error too.
func (m *Model) groupControls(ctx context.Context, q *resolved) (groups []*controlGroup, err error) {
	for i, c := range q.request.Controls {
		handle, err := m.openControl(ctx, c.Path)
		if err != nil {
			return groups, badFile(controlsField, c.Path, "a ControlNet for this model", err)
		}
		g := &controlGroup{handle: handle, net: handle.control, path: c.Path, id: m.sides.number()}
		g.guess = c.GuessMode || g.net.Config.GlobalPool
		groups = append(groups, g)
		mode, err := modeOf(g.net.Config, c.Mode)
		if err != nil {
			return groups, badFile(controlsField, c.Path, "a ControlNet with a mode that it has", err)
		}
		img, err := ControlImage(q.placed(c.Image, c.Resize), c.Preprocessor, q.size)
		if err != nil {
			return groups, badFile(controlsField, c.Path, "with an image that its preprocessor takes", err)
		}
		g.settings = []ControlParameters{q.Controls[i]}
		g.hints = []controlnet.Hint{{Values: hintValues(img, q.size), Type: mode}}
		if groups, err = m.joinUnion(groups); err != nil {
			return groups, err
		}
	}
	if len(groups) == 1 {
		groups[0].several = len(groups[0].hints) > 1
		return groups, nil
	}
	for _, g := range groups {
		for _, s := range g.settings[1:] {
			if first := g.settings[0]; s.Scale != first.Scale || s.Start != first.Start || s.End != first.End {
				return groups, bad(controlsField, fmt.Sprintf("%s with scale %v from %v to %v", g.path, s.Scale, s.Start, s.End),
					"with the scale, start and end of the union's first image, which are %v, %v and %v: beside other ControlNets it has one of each", first.Scale, first.Start, first.End)
			}
		}
	}
	return groups, nil
}

// joinUnion joins the last group to the one of the same union, if there is one.
func (m *Model) joinUnion(groups []*controlGroup) ([]*controlGroup, error) {
	last := groups[len(groups)-1]
	if !last.net.Config.Union() {
		return groups, nil
	}
	i := slices.IndexFunc(groups, func(g *controlGroup) bool { return g.handle == last.handle })
	first := groups[i]
	if first == last {
		return groups, nil
	}
	if first.guess != last.guess {
		return groups, bad(controlsField, last.path+" with and without guess mode", "with it for all of a union's images, or for none")
	}
	first.settings, first.hints = append(first.settings, last.settings...), append(first.hints, last.hints...)
	last.handle.release()
	return groups[:len(groups)-1], nil
}

// atSize is an image resized by Lanczos' filter, if it has another size.
func atSize(img image.Image, size Size) *image.NRGBA {
	n := toNRGBA(img)
	if b := n.Bounds(); b.Dx() != size.Width || b.Dy() != size.Height {
		return resample.Lanczos(n, size.Width, size.Height)
	}
	return n
}

// hintValues are an image's pixels in 0…1, [H, W, 3], at a size. Source: VaeImageProcessor without normalisation.
func hintValues(img image.Image, size Size) []float32 {
	n := atSize(img, size)
	out := make([]float32, 0, 3*size.Width*size.Height)
	for y := range size.Height {
		for x := range size.Width {
			for _, v := range n.Pix[y*n.Stride+4*x:][:3] {
				out = append(out, float32(v)/255)
			}
		}
	}
	return out
}

// counts returns the scale of each control image at evaluation i of n, and whether the group has any effect there.
// Source: diffusers pipeline_controlnet_sd_xl.py, controlnet_keep.
func (g *controlGroup) counts(i, n int) (scales []float64, any bool) {
	at := func(k int) float64 { return float64(k) / float64(n) }
	any = g.several // a union alone with several images acts at scale 0 too, as in diffusers
	for _, s := range g.settings {
		scale := s.Scale
		if at(i) < s.Start || at(i+1) > s.End {
			scale = 0
		}
		scales = append(scales, scale)
	}
	return scales, any || scales[0] != 0
}
