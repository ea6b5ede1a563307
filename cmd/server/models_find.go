package main

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights"
)

// shard is the end of the name of a file that holds some of a checkpoint's tensors; the index of all holds their names.
var shard = regexp.MustCompile(`-\d{5}-of-\d{5}\.[^.]+$`)

// endings are those of checkpoints in one file.
var endings = []string{".safetensors.index.json", ".safetensors", ".ckpt"}

// findModels lists the base models below a folder, sorted by name, by names, headers and small files alone.
func findModels(root string, log *slog.Logger) (list []entry, err error) {
	top, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == top {
				return err
			}
			log.Warn("not one of the models", slog.String("path", path), slog.String("reason", err.Error()))
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if path != top && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(path) // of what a link leads to
		if err != nil {
			log.Warn("not one of the models", slog.String("path", path), slog.String("reason", err.Error()))
			return nil
		}
		name := ""
		if info.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "model_index.json")); err != nil {
				return nil
			}
			name = "."
		} else {
			ending := slices.IndexFunc(endings, func(e string) bool { return strings.HasSuffix(d.Name(), e) })
			if ending < 0 || shard.MatchString(d.Name()) {
				return nil
			}
			name = endings[ending]
		}
		relative, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if relative == "." { // the folder is a model itself
			relative = filepath.Base(root)
		}
		e := entry{filepath.ToSlash(strings.TrimSuffix(relative, name)), path}
		if why := notABase(e); why != "" {
			log.Info("not one of the models", slog.String("path", path), slog.String("reason", why))
		} else {
			list = append(list, e)
		}
		if d.IsDir() { // its components are no models
			return fs.SkipDir
		}
		return nil
	})
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return list, err
}

// notABase is why a path is not a base model, "" if it is one as far as can be seen.
func notABase(e entry) string {
	k, err := weights.Recognise(e.path)
	switch {
	case err != nil:
		return err.Error()
	case strings.Contains(e.name, "="):
		return "there is = in its name, which ends a NAME in -model"
	case k.Form != weights.ModelFolder && k.Form != weights.Checkpoint && k.Form != weights.BareUNet:
		return "it is " + k.String()
	case k.Family == weights.SDXLRefiner || !k.Family.SDXL():
		return "it is " + k.String()
	}
	return ""
}
