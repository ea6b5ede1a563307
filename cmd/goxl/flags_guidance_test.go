package main

import (
	"bytes"
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
)

// TestGuidanceFlags passes what changes guidance on in the request.
func TestGuidanceFlags(t *testing.T) {
	for args, change := range map[string]func(r *sdxl.Request){
		"":                        func(*sdxl.Request) {},
		"-guidance-start 0.2":     func(r *sdxl.Request) { r.GuidanceStart = 0.2 },
		"-guidance-start 0":       func(*sdxl.Request) {},
		"-guidance-end 0.8":       func(r *sdxl.Request) { r.GuidanceEnd = 0.8 },
		"-guidance-end 1":         func(r *sdxl.Request) { r.GuidanceEnd = 1 },
		"-pag-scale 3":            func(r *sdxl.Request) { r.PAGScale = 3 },
		"-pag-adaptive-scale .01": func(r *sdxl.Request) { r.PAGAdaptiveScale = 0.01 },
		"-pag-layers mid,up_blocks.(0|1)": func(r *sdxl.Request) {
			r.PAGAppliedLayers = []string{"mid", "up_blocks.(0|1)"}
		},
		"-freeu 0.9:0.2:1.3:1.4": func(r *sdxl.Request) { r.FreeU = &sdxl.FreeU{S1: 0.9, S2: 0.2, B1: 1.3, B2: 1.4} },
	} {
		var g generateFlags
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		g.register(fs)
		if err := fs.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		var want sdxl.Request
		change(&want)
		if diff := cmp.Diff(want, g.request); diff != "" {
			t.Errorf("%q (-want +got):\n%s", args, diff)
		}
	}
}

// TestGuidanceFlagErrors: a value that can't be is said with the flag and what is allowed.
func TestGuidanceFlagErrors(t *testing.T) {
	dir := t.TempDir()
	for args, says := range map[string]string{
		"-guidance-start 1":                              "-guidance-start: must be 0 and more, below 1",
		"-guidance-start NaN":                            "-guidance-start: must be 0 and more, below 1",
		"-guidance-end 0":                                "-guidance-end: must be above 0, up to 1",
		"-guidance-end 0.2 -guidance-start .3":           "-guidance-end 0.2: must be guidance_start, which is 0.3, to 1",
		"-guidance-end .5 -scheduler comfy_euler_cfg_pp": "-guidance-end 0.5: must be absent with scheduler",
		"-pag-scale -1":                                  "-pag-scale: must be 0 or more",
		"-pag-scale Inf":                                 "-pag-scale: must be 0 or more",
		"-pag-adaptive-scale x":                          "-pag-adaptive-scale: must be 0 or more",
		"-pag-scale 3 -pag-layers down_blocks.0":         `-pag-layers "down_blocks.0": must be what is found in the path of one of the UNet's self-attentions: mid, or a regular expression such as down_blocks.1, down_blocks.1.attentions.0`,
		"-pag-scale 3 -pag-layers mid,(":                 `-pag-layers "("`,
		"-freeu 0.9:0.2:1.3":                             "-freeu: must be S1:S2:B1:B2, four numbers above 0",
		"-freeu 0.9:0.2:1.3:b":                           "-freeu: must be S1:S2:B1:B2",
		"-freeu 0:0.2:1.3:1.4":                           "-freeu 0: must be above 0, up to 100",
	} {
		if a := goxl(t, tiny(dir, strings.Fields(args)...)...); a.status != 2 || !strings.Contains(a.err, says) {
			t.Errorf("%s: status %d, said %q, want %q", args, a.status, a.err, says)
		}
	}
}

// TestGenerateWithGuidanceExtras draws other images with each of them, which say how they were made.
func TestGenerateWithGuidanceExtras(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.png")
	must(t, tiny(dir, "-seed", "3")...)
	plain := pixels(t, out)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-guidance-start", "0.5"}, "Skip Early CFG: "},
		{[]string{"-guidance-end", "0.5"}, "guidance_end"},
		{[]string{"-pag-scale", "9", "-pag-layers", "mid,up"}, "pag_applied_layers"},
		{[]string{"-freeu", "0.9:0.2:1.3:1.4"}, "freeu_b2: 1.4"},
	} {
		must(t, tiny(dir, append(c.args, "-seed", "3")...)...)
		if bytes.Equal(pixels(t, out), plain) {
			t.Errorf("%q draws the same", c.args)
		}
		if a := must(t, "inspect", out); !strings.Contains(a.out, c.says) {
			t.Errorf("%q: the image does not say %s:\n%s", c.args, c.says, a.out)
		}
	}
}
