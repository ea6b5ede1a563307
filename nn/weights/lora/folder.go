package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extensions are those of adapter files in a folder, as A1111 lists them.
var extensions = []string{".safetensors", ".pt", ".ckpt"}

// A FolderError is a name that no file, or more than one, of a folder of adapters has.
type FolderError struct {
	Folder, Name string
	Files        []string // that have the name
	Known        []string // names that there are; not listed where there are Files
}

func (e *FolderError) Error() string {
	if len(e.Files) > 0 {
		return fmt.Sprintf("%s: %q is the name of %d files: %s; allowed: a name with its folders, as in %q", e.Folder, e.Name, len(e.Files),
			strings.Join(e.Files, ", "), strings.TrimSuffix(e.Files[0], filepath.Ext(e.Files[0])))
	}
	const most = 20
	known := e.Known
	if len(known) == 0 {
		return fmt.Sprintf("%s: no adapter %q: the folder has none", e.Folder, e.Name)
	}
	more := ""
	if n := len(known) - most; n > 0 {
		known, more = known[:most], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%s: no adapter %q; there are: %s%s", e.Folder, e.Name, strings.Join(known, ", "), more)
}

// Find gives the path of the adapter that a prompt's <lora:NAME:1> means: the file in a folder, or in a folder below it,
// whose name without its extension, alone or with the folders before it, is NAME. Names are only compared, so that none
// leads out of the folder. An unknown or ambiguous name is a [*FolderError].
func Find(folder, name string) (string, error) {
	files, err := list(folder)
	if err != nil {
		return "", err
	}
	var known, found []string
	for _, file := range files {
		full := strings.TrimSuffix(file, filepath.Ext(file))
		known = append(known, filepath.Base(full))
		if name == full || name == filepath.Base(full) {
			found = append(found, file)
		}
	}
	if i := slices.IndexFunc(found, func(file string) bool { return name == strings.TrimSuffix(file, filepath.Ext(file)) }); i >= 0 && len(found) > 1 {
		exact := slices.DeleteFunc(slices.Clone(found), func(file string) bool { return strings.TrimSuffix(file, filepath.Ext(file)) != name })
		if len(exact) == 1 {
			found = exact
		}
	}
	if len(found) != 1 {
		slices.Sort(known)
		return "", &FolderError{Folder: folder, Name: name, Files: found, Known: slices.Compact(known)}
	}
	return filepath.Join(folder, filepath.FromSlash(found[0])), nil
}

// Names lists what Find takes for one adapter each of a folder: names without their folders where one file alone has
// the name, else with them. They are sorted; what no name stands for is left out.
func Names(folder string) ([]string, error) {
	files, err := list(folder)
	if err != nil {
		return nil, err
	}
	short, full := map[string]int{}, map[string]int{}
	for _, file := range files {
		name := strings.TrimSuffix(file, filepath.Ext(file))
		full[name]++
		short[filepath.Base(name)]++
	}
	var names []string
	for name, n := range full {
		base := filepath.Base(name)
		switch {
		case n == 1 && short[base] == 1:
			names = append(names, base)
		case n == 1:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// list gives the files of a folder that may be adapters, with slashes.
func list(folder string) (files []string, err error) {
	err = fs.WalkDir(os.DirFS(folder), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && file == ".":
			return err
		case err != nil: // a folder that can't be read has no names
			return nil
		case d.IsDir() || !slices.Contains(extensions, strings.ToLower(filepath.Ext(file))):
			return nil
		}
		files = append(files, file)
		return nil
	})
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	if err != nil {
		return nil, fmt.Errorf("folder of adapters %s: %w", folder, err)
	}
	return files, nil
}

// ParsePath splits "FILE[:STRENGTH]", as a command line has it, into the file and what ParseStrengths reads. A file that
// is there may have colons in its name.
func ParsePath(s string) (file string, strengths Strengths, err error) {
	if s == "" {
		return "", Strengths{}, errors.New(`"": must be FILE or FILE:STRENGTH`)
	}
	isFile := func(name string) bool {
		info, err := os.Stat(name)
		return err == nil && !info.IsDir()
	}
	if isFile(s) {
		return s, Strength(1), nil
	}
	first := -1
	for i, c := range s {
		if c != ':' || i == 0 || i == 1 && len(s) > 2 && (s[2] == '\\' || s[2] == '/') { // a drive's letter
			continue
		}
		if first < 0 {
			first = i
		}
		if isFile(s[:i]) {
			strengths, err = ParseStrengths(s[i+1:])
			return s[:i], strengths, err
		}
	}
	if first >= 0 {
		s = s[:first]
	}
	_, err = os.Stat(s)
	if err == nil {
		err = fmt.Errorf("%s: a folder; must be a file", s)
	}
	return "", Strengths{}, err
}
