package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

const previewUsage = "a JPEG `FILE[:EVERY]` that shows what the image is going to be while it is made, written anew after each EVERY steps, 1 without it: a pixel for each latent, or of -preview-taesd or -taesd the whole size; of several images file-0.jpg, file-1.jpg …"

const previewTAESDUsage = "make what -preview writes by a TAESD, and not the image itself as -taesd does: the `PATH` of taesdxl's folder, or of a safetensors file such as taesdxl_decoder"

// previewOptions are what a model makes previews with: by a TAESD wherever one is given, since -preview says how often.
func (g *generateFlags) previewOptions(o *sdxl.Options) {
	o.PreviewTAESD = g.previewTAESD
	if g.previewTAESD != "" || g.taesd != "" {
		o.PreviewMethod = sdxl.PreviewByTAESD
	}
}

// previewQuality is the JPEGs'.
const previewQuality = 80

// setPreview reads -preview.
func (g *generateFlags) setPreview(s string) error {
	file, every := s, 1
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		if n, err := strconv.Atoi(s[i+1:]); err == nil {
			if n < 1 {
				return errors.New("must have 1 or more behind the colon, the steps from one to the next")
			}
			file, every = s[:i], n
		}
	}
	if file == "" {
		return errors.New("must be a name, or the flag absent")
	}
	g.preview, g.previewEvery = file, every
	return nil
}

// previewOutputs are what -preview names.
func (g *generateFlags) previewOutputs(s streams) (list []output, err error) {
	if g.preview == "" {
		return nil, nil
	}
	for _, path := range numbered(g.preview, g.images()) {
		o, err := s.resolve("preview", path)
		if err != nil {
			return nil, err
		}
		if o.kind != regularFile {
			return nil, cli.Usagef("-preview %s: must be a regular file, which is replaced again and again", path)
		}
		list = append(list, o)
	}
	return list, nil
}

// previews writes what -preview asks for, each file whole or not at all; nil without the flag. The first error is
// printed, and ends the previews, not the run.
func (g *generateFlags) previews(warnings io.Writer, outputs []output) *sdxl.Preview {
	if g.preview == "" {
		return nil
	}
	failed := false
	return &sdxl.Preview{Every: g.previewEvery, Func: func(_ int, images []*image.NRGBA) {
		for i, img := range images {
			if failed {
				return
			}
			var file bytes.Buffer
			// Nothing shines through, so that the bytes are those of an RGBA image, which the encoder knows.
			err := jpeg.Encode(&file, &image.RGBA{Pix: img.Pix, Stride: img.Stride, Rect: img.Rect}, &jpeg.Options{Quality: previewQuality})
			if err == nil {
				err = imagefile.WriteFile(outputs[i].path, file.Bytes())
			}
			if err != nil {
				failed = true
				fmt.Fprintf(warnings, "warning: -preview %s: %v\n", outputs[i].name, err)
			}
		}
	}}
}
