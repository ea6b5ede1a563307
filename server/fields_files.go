package server

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/nn/weights"
)

// modelEndings are those of files that may hold a ControlNet, an adapter, an encoder or an upscaler.
var modelEndings = []string{".safetensors", ".bin", ".pth", ".pt", ".ckpt"}

// Limits of what is looked at of a folder.
const (
	mostEntries = 20000
	mostDeep    = 8
	mostListed  = 20 // names in an error
)

// modelFiles are the files of a folder that a field names, and the models there in diffusers' layout, which are folders
// with a config.json.
type modelFiles struct {
	folder, flag string
	what         string         // of the models
	family       weights.Family // of them; Unknown is any
	kinds        *modelKinds
	others       []string // names that are no files', for errors
}

// controlFiles are the ControlNets or the T2I-Adapters, which lie in one folder.
func (s *Server) controlFiles(family weights.Family) modelFiles {
	return modelFiles{folder: s.config.ControlDir, flag: "-control-dir", what: family.String(), family: family, kinds: &s.kinds}
}

// ipAdapterFiles are the IP-Adapters or their image encoders, which lie in one folder.
func (s *Server) ipAdapterFiles(family weights.Family) modelFiles {
	return modelFiles{folder: s.config.IPAdapterDir, flag: "-ip-adapter-dir", what: family.String(), family: family, kinds: &s.kinds}
}

func (s *Server) upscalerFiles() modelFiles {
	return modelFiles{folder: s.config.UpscalerDir, flag: "-upscaler-dir", what: "upscaler", kinds: &s.kinds}
}

// required reads the name of a model of the folder and gives its path; "" after a report.
func (d modelFiles) required(f *fields, name string) string {
	before := len(f.problems)
	text := f.text(name)
	if f.notes != nil || len(f.problems) > before {
		return ""
	}
	return d.find(f, name, text)
}

// optional is required of a field that may be absent; "" then.
func (d modelFiles) optional(f *fields, name string) string {
	f.notes.form(name, &jsonschema.Schema{Type: "string"})
	if f.given(name) == nil {
		return ""
	}
	return d.required(f, name)
}

// find gives the path of a model by its name: its path in the folder, with or without the extension, or the last part of
// that where one alone has it. Names are only compared, so that none leads out of the folder.
func (d modelFiles) find(f *fields, name, text string) string {
	bad := func(why string) string {
		f.report(name, "value_error", "Value error, "+why, nil)
		f.problems[len(f.problems)-1].logged = "Value error, no " + d.what + " of that name"
		return ""
	}
	if d.folder == "" {
		if len(d.others) > 0 {
			return bad(fmt.Sprintf("must be one of %s: this server has no folder of others (%s)", wordList(d.others), d.flag))
		}
		return bad(fmt.Sprintf("this server has no folder for a %s (%s)", d.what, d.flag))
	}
	files, err := d.list()
	if err != nil {
		return bad(fmt.Sprintf("the server's folder for a %s can't be read", d.what))
	}
	var found []string
	for _, same := range []func(file string) bool{
		func(file string) bool { return file == text },
		func(file string) bool { return stem(file) == text },
		func(file string) bool { return path.Base(stem(file)) == text || path.Base(file) == text },
	} {
		for _, file := range files {
			if same(file) {
				found = append(found, file)
			}
		}
		if len(found) > 0 {
			break
		}
	}
	switch len(found) {
	case 0:
		return bad(fmt.Sprintf("no %s has this name; there are: %s", d.what, wordList(slices.Concat(d.others, d.names(files)))))
	case 1:
	default:
		return bad("it is the name of several, and must be one of " + wordList(found))
	}
	at := filepath.Join(d.folder, filepath.FromSlash(found[0]))
	if family := d.kinds.of(at); d.excludes(family) {
		return bad(fmt.Sprintf("it is of the kind %s: must be of the kind %s", family, d.what))
	}
	return at
}

// excludes reports whether a model of a family is none of these. One that nothing is known of may be one.
func (d modelFiles) excludes(family weights.Family) bool {
	return d.family != weights.UnknownFamily && family != weights.UnknownFamily && family != d.family
}

// all lists the names of the models of the family; none without a folder.
func (d modelFiles) all() ([]string, error) {
	if d.folder == "" {
		return []string{}, nil
	}
	files, err := d.list()
	if err != nil {
		return nil, &failure{kind: internal, detail: fmt.Sprintf("The server's folder for a %s can't be read", d.what), err: err}
	}
	return d.names(files), nil
}

// names are what find takes for files, of those that are of the family.
func (d modelFiles) names(files []string) []string {
	count := map[string]int{}
	for _, file := range files {
		count[stem(file)]++
	}
	names := []string{}
	for _, file := range files {
		switch family := d.kinds.of(filepath.Join(d.folder, filepath.FromSlash(file))); {
		case d.excludes(family), d.family == weights.ImageEncoder && family != d.family:
		case count[stem(file)] > 1:
			names = append(names, file)
		default:
			names = append(names, stem(file))
		}
	}
	slices.Sort(names)
	return names
}

// stem is a file's name without the extension of a model; a folder's may have a dot.
func stem(file string) string {
	if ext := path.Ext(file); slices.Contains(modelEndings, strings.ToLower(ext)) {
		return strings.TrimSuffix(file, ext)
	}
	return file
}

// list gives the files and folders that may be models, with slashes, sorted.
func (d modelFiles) list() (files []string, err error) {
	root := os.DirFS(d.folder)
	seen := 0
	err = fs.WalkDir(root, ".", func(file string, e fs.DirEntry, err error) error {
		seen++
		switch {
		case err != nil && file == ".":
			return err
		case err != nil: // a folder that can't be read has no names
			return nil
		case seen > mostEntries:
			return fs.SkipAll
		case file == ".":
			return nil
		case strings.HasPrefix(path.Base(file), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case slices.Contains(modelEndings, strings.ToLower(path.Ext(file))) && !e.IsDir():
			files = append(files, file)
			return nil
		case e.IsDir() || e.Type()&fs.ModeSymlink != 0:
			if _, err := fs.Stat(root, path.Join(file, "config.json")); err == nil {
				files = append(files, file)
				if e.IsDir() {
					return fs.SkipDir
				}
			} else if e.IsDir() && strings.Count(file, "/")+1 >= mostDeep {
				return fs.SkipDir
			}
		}
		return nil
	})
	return files, err
}

// wordList lists words, of many the first ones.
func wordList(words []string) string {
	switch n := len(words) - mostListed; {
	case len(words) == 0:
		return "none"
	case n > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(words[:mostListed], ", "), n)
	}
	return strings.Join(words, ", ")
}

// modelKinds are the families of files, which their headers tell, for as long as the files stay as they are.
type modelKinds struct {
	mu   sync.Mutex
	seen map[string]modelKind
}

type modelKind struct {
	size, modified int64
	family         weights.Family
}

// of is the family of what a path holds; Unknown is one that can't be told.
func (k *modelKinds) of(path string) weights.Family {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		info, err = os.Stat(filepath.Join(path, "config.json"))
	}
	if err != nil {
		return weights.UnknownFamily
	}
	now := modelKind{size: info.Size(), modified: info.ModTime().UnixNano()}
	k.mu.Lock()
	known, there := k.seen[path]
	k.mu.Unlock()
	if there && known.size == now.size && known.modified == now.modified {
		return known.family
	}
	if kind, err := weights.Recognise(path); err == nil { // else whoever opens it says what is wrong
		now.family = kind.Family
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen == nil || len(k.seen) >= 2*mostEntries {
		k.seen = map[string]modelKind{}
	}
	k.seen[path] = now
	return now.family
}
