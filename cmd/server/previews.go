package main

import (
	"cmp"
	"flag"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// previews are the flags that say how previews are made.
type previews struct {
	taesd  string
	method sdxl.PreviewMethod
}

func (p *previews) register(fs *flag.FlagSet) {
	p.method = sdxl.PreviewAuto
	fs.StringVar(&p.taesd, "preview-taesd", "", "make previews by a TAESD, and not the images as -taesd does: the `PATH` of taesdxl's folder, or of a safetensors file such as taesdxl_decoder")
	fs.Func("preview-method", "how previews are made, a `name` as ComfyUI's: auto, the default, is taesd where there is one, at as many of the steps as that takes 5 % of the time for, and latent2rgb until then or without one; latent2rgb is a pixel for each latent, which takes next to no time; taesd decodes at every step that a request asks for; none makes no previews", func(s string) error {
		p.method = sdxl.PreviewMethod(s)
		return oneOf(sdxl.PreviewMethods(), p.method)
	})
}

// args are the flags of a process that computes with the same.
func (p *previews) args() []string {
	return []string{"-preview-taesd", p.taesd, "-preview-method", string(cmp.Or(p.method, sdxl.PreviewAuto))}
}

// checkPreviews refuses a method that there is nothing for.
func (m *models) checkPreviews() error {
	if m.previews.method == sdxl.PreviewByTAESD && m.previews.taesd == "" && m.taesd == "" {
		return cli.Usagef("-preview-method taesd: needs -preview-taesd or -taesd")
	}
	return nil
}
