package server

import (
	"slices"

	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/controlnet/preprocess"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// listImages is the part of the options that is of images: names of the files in the folders, whose headers are read once,
// and words.
func (s *Server) listImages(o *optionsView) (err error) {
	for _, list := range []struct {
		files modelFiles
		into  *[]string
	}{
		{s.controlFiles(weights.ControlNet), &o.Controls}, {s.controlFiles(weights.T2IAdapter), &o.T2IAdapters},
		{s.ipAdapterFiles(weights.IPAdapter), &o.IPAdapters}, {s.ipAdapterFiles(weights.ImageEncoder), &o.ImageEncoders},
		{s.upscalerFiles(), &o.Upscalers},
	} {
		if *list.into, err = list.files.all(); err != nil {
			return err
		}
	}
	o.Upscalers = slices.Concat(sdxl.HiresUpscalers(), o.Upscalers)
	o.Preprocessors, o.Modes = preprocess.Names(), controlnet.Modes
	o.Resizes, o.Fills = names(sdxl.Resizes()), names(sdxl.InpaintFills())
	return nil
}
