package worker

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

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

func (s Shared) upscalers(field string) folder {
	return folder{s.UpscalerDir, field, "a name, or a file in the folder of upscalers"}
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
		replace(s.upscalers("hires.upscaler"), &h.Upscaler)
		r.Hires = &h
	}
	return err
}

// mapUpscalers replaces the paths of the files of an upscaling, in a copy; nil is none.
func (s Shared) mapUpscalers(u *sdxl.Upscaling, to func(folder, string) (string, error)) (*sdxl.Upscaling, error) {
	if u == nil {
		return nil, nil
	}
	mapped := *u
	for _, path := range mapped.Files() {
		field := "upscaler"
		if path == &mapped.Second {
			field = "upscaler_2"
		}
		var err error
		if *path, err = to(s.upscalers(field), *path); err != nil {
			return nil, err
		}
	}
	return &mapped, nil
}

// WithinFolders lets an error about a file of a request name it within its folder: where that lies is nobody's business.
func (s Shared) WithinFolders(err error) error {
	var bad *sdxl.RequestError
	if !errors.As(err, &bad) {
		return err
	}
	within := func(text string) string {
		for _, folder := range []string{s.LoRADir, s.ControlDir, s.IPAdapterDir, s.UpscalerDir} {
			text = cutFolder(text, folder, "")
		}
		if s.IPAdapterDir != "" { // beside which image encoders may lie
			text = cutFolder(text, filepath.Dir(s.IPAdapterDir), "../")
		}
		return text
	}
	hidden := &sdxl.RequestError{Field: bad.Field, Value: bad.Value, Allowed: within(bad.Allowed), Err: bad.Err}
	if text, ok := bad.Value.(string); ok {
		hidden.Value = within(text)
	}
	if bad.Err == nil {
		return hidden
	}
	if text := bad.Err.Error(); within(text) != text {
		hidden.Err = errors.New(within(text))
	}
	return hidden
}

// cutFolder replaces what the paths of a folder's files begin with.
func cutFolder(text, folder, with string) string {
	begins := strings.TrimSuffix(filepath.Join(folder, "x"), "x")
	if folder == "" || begins == "" || begins == string(filepath.Separator) { // which other texts have too
		return text
	}
	return regexp.MustCompile(`(^|[^\w./\\-])`+regexp.QuoteMeta(begins)).ReplaceAllString(text, "${1}"+with)
}
