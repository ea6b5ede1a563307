package sdxl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// vaeFolder is the folder of a VAE that Options.VAE names; "" if that is a file.
func vaeFolder(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", nil
	}
	if _, err := os.Stat(filepath.Join(path, "vae", "config.json")); err == nil {
		return filepath.Join(path, "vae"), nil
	}
	if _, err := os.Stat(filepath.Join(path, "config.json")); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: must be a VAE's folder or a model's: it has neither config.json nor vae/config.json", path)
	}
	return path, nil
}

// otherVAE reads the configuration of what Options.VAE names, with its folder, "" of a file, and the configuration's
// name. That of a file comes from its shapes.
func (r specReader) otherVAE(path string) (config vae.Config, folder, file string, err error) {
	if folder, err = vaeFolder(path); err != nil {
		return config, "", "", err
	}
	if folder != "" {
		files := &store{path: folder, fsys: os.DirFS(folder), join: filepath.Join}
		config, err = specReader{files, r.log}.vae(files, ".")
		return config, folder, filepath.Join(folder, "config.json"), err
	}
	c, err := singlefile.OpenVAE(path)
	if err != nil {
		return config, "", "", err
	}
	if err = c.Derive(); err == nil {
		files := &store{path: path, fsys: c.Files(), join: joinSingle}
		config, err = specReader{files, r.log}.vae(files, "vae")
	}
	return config, "", path, errors.Join(err, c.Close())
}

// otherVAE opens Options.VAE.
func (l loader) otherVAE(path string) error {
	if err := l.openOtherVAE(path); err != nil {
		return &PartError{"VAE", err}
	}
	return nil
}

// openOtherVAE opens a folder by its own configuration, and a file by the model's.
func (l loader) openOtherVAE(path string) error {
	folder, err := vaeFolder(path)
	if err != nil {
		return err
	}
	if folder == "" {
		c, err := singlefile.OpenVAE(path)
		if err != nil {
			return err
		}
		l.closers = append(l.closers, c)
		l.sources["vae"] = c.Component(singlefile.VAE)
		l.unclaimed("vae", c.Unclaimed)
		return l.openVAE(path, l.files.name("vae/config.json"), l.sources["vae"], l.spec.VAE)
	}
	config, folder, file, err := specReader{l.files, l.options.Log}.otherVAE(path)
	if err != nil {
		return err
	}
	c, err := weights.OpenComponentFolder(folder, "vae", l.variant())
	if err != nil {
		return err
	}
	l.closers = append(l.closers, c)
	l.sources["vae"] = c
	return l.openVAE(folder, file, c, config)
}
