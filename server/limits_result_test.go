package server

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// A second pass and a border are held to the limits of a request, and a second pass counts in how many steps there may
// be.
func TestLimitsOfResult(t *testing.T) {
	given := func(c *Config) { c.MaxPixels, c.MaxSteps = 128*128, 30 }
	timed := func(c *Config) { c.RequestTimeout = 100 * time.Second }
	hires := func(h sdxl.Hires) func(*sdxl.Request) {
		return func(r *sdxl.Request) { r.Width, r.Height, r.Hires = 64, 64, &h }
	}
	steps := func(n int, more func(*sdxl.Request)) func(*sdxl.Request) {
		return func(r *sdxl.Request) { more(r); r.Steps = n }
	}
	around := func(width, height int, border sdxl.Border, padding *int) func(*sdxl.Request) {
		return func(r *sdxl.Request) {
			r.Image, r.Outpaint, r.MaskPadding = sdxl.Blank{Size: sdxl.Size{Height: height, Width: width}}, border, padding
			if r.Mask = r.Image; padding != nil {
				r.Width, r.Height = 64, 64
			}
		}
	}
	fast, second, slow := sdxl.Cost{}, perPixel(64*64), perPixel(100)
	for name, c := range map[string]struct {
		change func(*Config)
		cost   sdxl.Cost
		set    func(*sdxl.Request)
		want   string // of the error, "" is none
		steps  [2]int // that there are without one, of both passes; 0 is not looked at
	}{
		"pixels at the limit":    {given, fast, steps(3, hires(sdxl.Hires{Steps: 30})), "", [2]int{3, 30}},
		"pixels beyond it":       {given, fast, hires(sdxl.Hires{Scale: 3}), "hires is 192×192, 36864 pixels: must be a second pass of at most 16384 pixels", [2]int{}},
		"steps beyond it":        {given, fast, hires(sdxl.Hires{Steps: 31}), "hires.steps is 31: must be at most 30", [2]int{}},
		"its own steps in time":  {timed, second, hires(sdxl.Hires{Steps: 24}), "", [2]int{4, 24}},
		"its own steps too long": {timed, second, hires(sdxl.Hires{Steps: 25}), "hires.steps is 25: must be at most 24", [2]int{}},
		"the same steps in time": {timed, second, steps(20, hires(sdxl.Hires{})), "", [2]int{20, 20}},
		"the same too long":      {timed, second, steps(21, hires(sdxl.Hires{})), "num_inference_steps]: Input should be less than or equal to 20", [2]int{}},
		"no steps given":         {timed, second, hires(sdxl.Hires{}), "", [2]int{20, 20}},
		"one step too long": {func(c *Config) { timed(c); c.MaxPixels = 128 * 128 }, slow, hires(sdxl.Hires{}),
			"hires is 128×128: must be a second pass of which a step takes no longer than the 1m40s that a request may take here", [2]int{}},

		"steps of a ControlNet": {timed, sdxl.Cost{Step: second.Step, Control: second.Step}, steps(51, func(r *sdxl.Request) {
			r.Width, r.Height, r.Controls = 64, 64, []sdxl.Control{{Path: "a", Image: sdxl.Blank{Size: sdxl.Size{Height: 8, Width: 8}}}}
		}), "num_inference_steps]: Input should be less than or equal to 50", [2]int{}},

		"a ControlNet of which one step is too long": {timed, sdxl.Cost{Step: second.Step, Control: slow.Step}, func(r *sdxl.Request) {
			r.Width, r.Height, r.Controls = 128, 128, []sdxl.Control{{Path: "a", Image: sdxl.Blank{Size: sdxl.Size{Height: 8, Width: 8}}}}
		}, "controls]: Value error, one step with these at 128×128 takes longer than the 1m40s that a request may take here", [2]int{}},

		"a border":                    {given, fast, around(64, 64, sdxl.Border{Left: 64}, nil), "", [2]int{}},
		"too large a border":          {given, fast, around(128, 120, sdxl.Border{Top: 16}, nil), "128×136 is 17408 pixels: must be at most 16384", [2]int{}},
		"a border around a part":      {given, fast, around(64, 64, sdxl.Border{Left: 64}, new(8)), "", [2]int{}},
		"too large one around a part": {given, fast, around(100, 100, sdxl.Border{Left: 200}, new(8)), "outpaint is 300×100, 30000 pixels: must be a border that gives at most 16384 pixels with the image", [2]int{}},
		"a part of a large image":     {given, fast, around(1000, 1000, sdxl.Border{}, new(8)), "", [2]int{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.change)
			b.base.cost = c.cost
			if err := b.Load(); err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			j := engine.Job{Model: engine.Base, Request: sdxl.Request{Prompt: "a"}}
			c.set(&j.Request)
			_, err := b.resolve(&fields{values: map[string]json.RawMessage{"image": json.RawMessage(`"x"`)}, source: "image"}, &j)
			if c.want != "" {
				var bad *sdxl.RequestError
				if err == nil || !strings.HasSuffix(err.Error(), c.want) || !errors.As(err, &bad) && !strings.Contains(err.Error(), "[body ") {
					t.Errorf("%v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p := j.Parameters; c.steps[0] > 0 && (p.Steps != c.steps[0] || p.Hires.Steps != c.steps[1]) {
				t.Errorf("%d and %d steps, want %v", p.Steps, p.Hires.Steps, c.steps)
			}
		})
	}
}

// What a request's error says of a file does not say where the folder lies.
func TestFolderOfAnError(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.UpscalerDir = t.TempDir() })
	j := engine.Job{
		Model: engine.Base, Request: sdxl.Request{Image: sdxl.Blank{Size: sdxl.Size{Height: 8, Width: 8}}},
		Upscale: &sdxl.Upscaling{Upscaler: filepath.Join(b.config.UpscalerDir, "sub", "none.pth")},
	}
	if _, err := b.resolve(&fields{}, &j); err == nil || !strings.HasPrefix(err.Error(), "upscaler is sub/none.pth: must be ") || strings.Contains(err.Error(), b.config.UpscalerDir) {
		t.Error(err)
	}
}
