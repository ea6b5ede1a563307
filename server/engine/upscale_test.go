package engine

import (
	"context"
	"errors"
	"image"
	"slices"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

// TestUpscale: an engine enlarges images as the host does, alone and in what should be a batch; of several models none
// is opened for it.
func TestUpscale(t *testing.T) {
	host, base := openTiny(t)
	local, err := NewLocal(t.Context(), base, nil)
	if err != nil {
		t.Fatal(err)
	}
	img := image.NewNRGBA(image.Rect(0, 0, 40, 30))
	for i := range img.Pix {
		img.Pix[i] = uint8(i * 7 % 251)
	}
	j := Job{Model: Base, Upscale: &sdxl.Upscaling{Upscaler: "../../models/esrgan/testdata/compact3.pth", Scale: 2}, Request: sdxl.Request{Image: img}}
	p, err := Specs{Base: base.Spec()}.Resolve(j)
	if err != nil || p.Width != 80 || p.Height != 60 || p.Task != sdxl.Upscale {
		t.Fatalf("resolved as %v: %v", p, err)
	}
	want, err := host.Upscale(t.Context(), sdxl.UpscaleRequest{Upscaling: *j.Upscale, Image: img})
	if err != nil {
		t.Fatal(err)
	}
	var of shop
	alone, err := NewSeveral(t.Context(), SeveralConfig{Models: []Opening{of.opening("a", 1)}, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	of.opened = nil
	without, err := NewSeveral(t.Context(), SeveralConfig{Models: []Opening{{Name: "l", Open: func(context.Context, func(int64, int64)) (Engine, error) { return local, nil }}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Engine{"local": local, "several": alone, "several without a host": without} {
		computed, tiles := 0, 0
		j := j
		j.Request.OnComputed = func() { computed++ }
		j.Request.Progress = func(sdxl.Progress) { tiles++ }
		var results []*sdxl.Result
		one, err := e.Generate(t.Context(), j)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		results = append(results, one)
		job := BatchJob{Job: j, Context: t.Context(), Done: func(r *sdxl.Result, err error) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			results = append(results, r)
		}}
		GenerateBatch(e, []BatchJob{job, job})
		if len(results) != 3 || computed != 3 || tiles != 3 {
			t.Errorf("%s: %d results, computed %d times, %d tiles", name, len(results), computed, tiles)
		}
		for _, r := range results {
			if !slices.Equal(r.Images[0].Pix, want.Images[0].Pix) {
				t.Errorf("%s: another image", name)
			}
		}
	}
	if len(of.opened) > 0 {
		t.Errorf("%q was opened to enlarge an image", of.opened)
	}
	j.Upscale = &sdxl.Upscaling{Upscaler: "none.pth"}
	var bad *sdxl.RequestError
	if _, err := local.Generate(t.Context(), j); !errors.As(err, &bad) || bad.Field != "upscaler" {
		t.Errorf("no such file is %v", err)
	}
	if c := local.Costs(); c.FLOPS <= 0 || c.Seconds(Job{Parameters: sdxl.Parameters{Upscale: &sdxl.UpscaleParameters{FLOPs: 4 * c.FLOPS}}}, 0) != 4 || without.Costs().Of("l").FLOPS != c.FLOPS {
		t.Errorf("costs %+v, of several %+v", c, without.Costs())
	}
	if err := errors.Join(alone.Close(), without.Close()); err != nil {
		t.Error(err)
	}
}
