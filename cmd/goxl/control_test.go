package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

// controlNet writes a tiny net.
func controlNet(t *testing.T, kind string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), kind)
	must(t, "synth", "-size", "tiny", "-kind", kind, "-o", dir)
	return dir
}

// TestControlFlags draws with ControlNets and T2I-Adapters: each flag changes the image, and the file says what was
// used.
func TestControlFlags(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.png")
	must(t, tiny(dir, "-o", in, "-width", "64", "-height", "64")...)
	full, union, adapter := controlNet(t, "controlnet"), controlNet(t, "controlnet-union"), controlNet(t, "t2i-adapter")
	draw := func(args ...string) []byte {
		t.Helper()
		must(t, tiny(dir, append([]string{"-width", "64", "-height", "64", "-seed", "1", "-steps", "4", "-o", out}, args...)...)...)
		return pixels(t, out)
	}
	before := draw()
	for _, args := range [][]string{
		{"-control", full, "-control-image", in},
		{"-control", full + ":0.5", "-control-image", in},
		{"-control", full + ":0.5:0.3:0.8", "-control-image", in},
		{"-control", full, "-control-image", in, "-control-guess"},
		{"-control", full, "-control-image", in, "-control", union, "-control-mode", "depth", "-control-image", in},
		{"-control", union, "-control-image", in, "-control-mode", "depth"},
		{"-control", union, "-control-image", in, "-control-mode", "5"},
		{"-t2i-adapter", adapter, "-t2i-image", in},
		{"-t2i-adapter", adapter + ":0.5", "-t2i-image", in},
	} {
		now := draw(args...)
		if bytes.Equal(before, now) {
			t.Errorf("%q draws what is drawn without the last of it", args)
		}
		before = now
	}
	draw("-control", full+":0.5:0.25:1", "-control-image", in, "-control-preprocessor", "canny:50:100", "-t2i-adapter", adapter, "-t2i-image", in)
	all := texts(t, out)
	if got, want := all["controls"], `[{"name":"controlnet","scale":0.5,"start":0.25,"end":1,"preprocessor":"canny:50:100"}]`; got != want {
		t.Errorf("controls are %s, want %s", got, want)
	}
	if got, want := all["t2i_adapters"], `[{"name":"t2i-adapter","scale":1}]`; got != want {
		t.Errorf("t2i_adapters are %s, want %s", got, want)
	}
	if got, want := all["parameters"], `ControlNet 0: "Module: canny, Model: controlnet, Weight: 0.5, Resize Mode: Just Resize, Threshold A: 50, Threshold B: 100, Guidance Start: 0.25, Guidance End: 1, Pixel Perfect: True, Control Mode: Balanced"`; !strings.Contains(got, want) {
		t.Errorf("A1111's text is %s, want %s in it", got, want)
	}
}

// TestControlErrors names the flag and what is allowed.
func TestControlErrors(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.png")
	must(t, tiny(dir, "-o", in, "-width", "64", "-height", "64")...)
	full, union, adapter := controlNet(t, "controlnet"), controlNet(t, "controlnet-union"), controlNet(t, "t2i-adapter")
	broken := filepath.Join(dir, "broken.png")
	write(t, broken, "broken")
	for want, args := range map[string][]string{
		"-control is given 1 times and -control-image 0 times":                {"-control", full},
		"-control is given 0 times and -control-image 1 times":                {"-control-image", in},
		"-t2i-adapter is given 1 times and -t2i-image 2 times":                {"-t2i-adapter", adapter, "-t2i-image", in, "-t2i-image", in},
		"must come behind the -control":                                       {"-control-mode", "canny"},
		"has 2 numbers behind the path: must have a scale, or scale, start":   {"-control", "x:1:0.5", "-control-image", in},
		"has 3 numbers behind the path: must have a scale":                    {"-t2i-adapter", "x:1:0:1", "-t2i-image", in},
		"-control /nowhere: must be a ControlNet for this model":              {"-control", "/nowhere", "-control-image", in},
		"must be the name or number of the image's kind, one of 0 (openpose)": {"-control", union, "-control-image", in},
		"the ControlNet is no union":                                          {"-control", full, "-control-image", in, "-control-mode", "canny"},
		"must be one of canny, invert":                                        {"-control", full, "-control-image", in, "-control-preprocessor", "nope"},
		"openpose_full needs a model":                                         {"-control", full, "-control-image", in, "-control-preprocessor", "openpose_full"},
		"must be a start from 0 on that is below its end, which is 0.2":       {"-control", full + ":1:0.8:0.2", "-control-image", in},
		"-control-image " + broken:                                            {"-control", full, "-control-image", broken},
		"-t2i-adapter " + full + ": must be a T2I-Adapter":                    {"-t2i-adapter", full, "-t2i-image", in},
	} {
		a := goxl(t, tiny(dir, append([]string{"-o", filepath.Join(dir, "none.png")}, args...)...)...)
		if a.status == 0 || !strings.Contains(a.err, want) {
			t.Errorf("%q: status %d, said %s, want %q", args, a.status, a.err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "none.png")); err == nil {
			t.Fatalf("%q leaves an image", args)
		}
	}
	if a := goxl(t, "synth", "-size", "tiny", "-kind", "controlnet", "-single", "-o", filepath.Join(dir, "x")); a.status != 2 || !strings.Contains(a.err, "-single") {
		t.Errorf("a net in one file: status %d, said %s", a.status, a.err)
	}
}

// TestControlsInspected: inspect says what kind of net a folder holds, and by which flag it is given.
func TestControlsInspected(t *testing.T) {
	for kind, want := range map[string][]string{
		"controlnet": {"ControlNet component", "full", "-control, with a -control-image"}, "controlnet-mid": {"mid"}, "controlnet-small": {"small"},
		"controlnet-union": {"union of 6 kinds"}, "controlnet-promax": {"union of 8 kinds"}, "t2i-adapter": {"T2I-Adapter component", "-t2i-adapter, with a -t2i-image"},
	} {
		a := must(t, "inspect", controlNet(t, kind))
		for _, w := range want {
			if !strings.Contains(a.out, w) {
				t.Errorf("%s: %q is not in\n%s", kind, w, a.out)
			}
		}
	}
}

// TestBenchWithControl times steps with a ControlNet.
func TestBenchWithControl(t *testing.T) {
	full := controlNet(t, "controlnet")
	must(t, "bench", "step", "-model", "synth:tiny", "-device", "cpu", "-width", "64", "-height", "64", "-runs", "1", "-control", full+":0.5")
	for want, args := range map[string][]string{
		"-control has no meaning for kernels": {"bench", "kernels", "-control", full},
		"a ControlNet for this model":         {"bench", "step", "-model", "synth:tiny", "-device", "cpu", "-width", "64", "-height", "64", "-control", "/nowhere"},
	} {
		if a := goxl(t, args...); a.status == 0 || !strings.Contains(a.err, want) {
			t.Errorf("%q: status %d, said %s, want %q", args, a.status, a.err, want)
		}
	}
}

// TestFieldsOfImages: errors of a request's images name the flags that they are from.
func TestFieldsOfImages(t *testing.T) {
	for field, flag := range map[string]string{
		"image": "image", "mask": "mask", "mask_image": "mask", "controls": "control", "controls[3].image": "control-image", "controls[3].start": "control", "t2i_adapters": "t2i-adapter", "t2i_adapters[0].path": "t2i-adapter", "t2i_adapters[0].image": "t2i-image",
		"ip_adapters": "ip-adapter", "ip_adapters[1].images[2]": "ip-image", "ip_adapters[0].mask": "ip-mask",
	} {
		err := asUsage(&sdxl.RequestError{Field: field, Value: "9×9 pixels", Allowed: "smaller"}, false)
		if want := "-" + flag + " 9×9 pixels: must be smaller"; err.Error() != want {
			t.Errorf("%s: %v, want %s", field, err, want)
		}
	}
}
