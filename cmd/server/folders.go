package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/worker"
)

// folders are the flags of the folders within which requests name files. "" has none.
type folders struct{ loras, controls, ipAdapters, upscalers string }

func (f *folders) register(fs *flag.FlagSet) {
	for _, d := range f.all() {
		fs.StringVar(d.path, d.flag, "", "`folder` of "+d.files+", in it or in folders below it, that requests may name in "+d.field+"; files may come and go while the server runs")
	}
}

type folderFlag struct {
	flag         string
	path         *string
	files, field string
}

func (f *folders) all() []folderFlag {
	return []folderFlag{
		{"lora-dir", &f.loras, "the files of LoRA and its relatives", "loras"},
		{"control-dir", &f.controls, "ControlNets and T2I-Adapters, files or folders in diffusers' layout", "controls and t2i_adapters"},
		{"ip-adapter-dir", &f.ipAdapters, "IP-Adapters and their image encoders, as h94/IP-Adapter has them", "ip_adapters"},
		{"upscaler-dir", &f.upscalers, "upscalers of the ESRGAN family", "hires and upscale"},
	}
}

// checkFolders refuses one that is not there.
func (f *folders) checkFolders() error {
	for _, d := range f.all() {
		if *d.path == "" {
			continue
		}
		if _, err := os.ReadDir(*d.path); err != nil {
			return fmt.Errorf("-%s: must be a folder that can be read: %w", d.flag, err)
		}
	}
	return nil
}

// fillFolders says them to a server.
func (f *folders) fillFolders(c *server.Config) {
	c.LoRADir, c.ControlDir, c.IPAdapterDir, c.UpscalerDir = f.loras, f.controls, f.ipAdapters, f.upscalers
}

// shared is what a worker adds to requests.
func (f *folders) shared(inversions []sdxl.TextualInversion) worker.Shared {
	return worker.Shared{LoRADir: f.loras, ControlDir: f.controls, IPAdapterDir: f.ipAdapters, UpscalerDir: f.upscalers, TextualInversions: inversions}
}
