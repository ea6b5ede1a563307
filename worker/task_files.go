package worker

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/goxl/goxl/models/sdxl"
)

// folder is one of Shared's, within which a request names files.
type folder struct {
	path  string
	field string // of a request, for errors
	what  string
}

func (s Shared) loras() folder { return folder{s.LoRADir, "loras", "a file in the folder of adapters"} }

func (s Shared) controls() folder {
	return folder{s.ControlDir, "controls", "a file in the folder of ControlNets"}
}

func (s Shared) t2iAdapters() folder {
	return folder{s.ControlDir, "t2i_adapters", "a file in the folder of ControlNets"}
}

func (s Shared) ipAdapters() folder {
	return folder{s.IPAdapterDir, "ip_adapters", "a file in the folder of IP-Adapters"}
}

func (s Shared) upscalers() folder {
	return folder{s.UpscalerDir, "hires.upscaler", "a name, or a file in the folder of upscalers"}
}

// relative is a file's path within the folder, with slashes; that of "" is "".
func (f folder) relative(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	file, err := filepath.Rel(f.path, path)
	if err != nil || f.path == "" || !filepath.IsLocal(file) {
		return "", fmt.Errorf("worker: %s of a request has %s: must be %s", f.field, path, f.what)
	}
	return filepath.ToSlash(file), nil
}

// absolute is the path of what relative gave.
func (f folder) absolute(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	local := filepath.FromSlash(file)
	if f.path == "" || !filepath.IsLocal(local) {
		return "", &sdxl.RequestError{Field: f.field, Value: file, Allowed: f.what + " of the server"}
	}
	return filepath.Join(f.path, local), nil
}

// mapFiles replaces the path of every file of a request but its LoRAs', in copies of what has them.
func (s Shared) mapFiles(r *sdxl.Request, to func(folder, string) (string, error)) (err error) {
	replace := func(f folder, path *string) {
		if err == nil {
			*path, err = to(f, *path)
		}
	}
	r.Controls, r.T2IAdapters, r.IPAdapters = slices.Clone(r.Controls), slices.Clone(r.T2IAdapters), slices.Clone(r.IPAdapters)
	for i := range r.Controls {
		replace(s.controls(), &r.Controls[i].Path)
	}
	for i := range r.T2IAdapters {
		replace(s.t2iAdapters(), &r.T2IAdapters[i].Path)
	}
	for i := range r.IPAdapters {
		replace(s.ipAdapters(), &r.IPAdapters[i].Path)
		replace(s.ipAdapters(), &r.IPAdapters[i].Encoder)
	}
	if r.Hires != nil && r.Hires.UpscalerFile() != "" {
		h := *r.Hires
		replace(s.upscalers(), &h.Upscaler)
		r.Hires = &h
	}
	return err
}
