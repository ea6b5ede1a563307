package weights

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func listVariants(names []string) string {
	shown := make([]string, len(names))
	for i, v := range names {
		shown[i] = v
		if v == "" {
			shown[i] = "plain (no variant)"
		}
	}
	return strings.Join(shown, ", ")
}

// baseName is the name of a component's weight file: transformers and diffusers differ.
func baseName(component string) string {
	if strings.HasPrefix(component, "text_encoder") {
		return "model"
	}
	return "diffusion_pytorch_model"
}

var shardCounter = regexp.MustCompile(`-\d+-of-\d+$`)

// weightForms are what may follow a component's base name and a dot, by preference: an index wins over a whole file, as
// in diffusers, and the newer spelling of an index (base.safetensors.index.fp16.json) over the older
// (base.safetensors.fp16.index.json).
func weightForms(suffix string) [3]struct{ before, after string } {
	return [3]struct{ before, after string }{{suffix + ".index.", "json"}, {suffix + ".", "index.json"}, {"", suffix}}
}

// variants finds a component's weight files and shard indexes in its folder, by variant: safetensors files, or where
// there are none the pickles of PyTorch. An index of which no shard is there is the last choice.
func variants(dir, component string, entries []fs.DirEntry) map[string]string {
	if found := variantsOf(dir, baseName(component), "safetensors", entries); len(found) > 0 {
		return found
	}
	return variantsOf(dir, pickleName(component), "bin", entries)
}

func variantsOf(dir, base, suffix string, entries []fs.DirEntry) map[string]string {
	found, rank := map[string]string{}, map[string]int{}
	forms := weightForms(suffix)
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base+".")
		if !ok || e.IsDir() {
			continue
		}
		for i, form := range forms {
			v, ok := strings.CutPrefix(rest, form.before)
			if v, ok = cutLast(v, form.after, ok); !ok || strings.Contains(v, ".") || shardCounter.MatchString(v) {
				continue
			}
			if form.before != "" && !hasShards(filepath.Join(dir, e.Name())) {
				i += len(forms)
			}
			if found[v] == "" || i < rank[v] {
				found[v], rank[v] = e.Name(), i
			}
		}
	}
	return found
}

// cutLast cuts the last part of a dotted name: "fp16.json" is fp16, "json" is the plain name "".
func cutLast(s, last string, ok bool) (string, bool) {
	if s == last {
		return "", ok
	}
	v, cut := strings.CutSuffix(s, "."+last)
	return v, ok && cut && v != ""
}

// pickleName is the name of a component's weight file where that is a pickle.
func pickleName(component string) string {
	if base := baseName(component); base != "model" {
		return base
	}
	return "pytorch_model"
}

// weightSuffixes are those of files that may hold weights.
var weightSuffixes = []string{".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".pkl"}

// isWeightName reports whether a file or a shard index may hold weights, by its name.
func isWeightName(name string) bool {
	return slices.Contains(weightSuffixes, strings.ToLower(filepath.Ext(name))) ||
		strings.HasSuffix(name, ".json") && (strings.Contains(name, ".safetensors.") || strings.Contains(name, ".bin."))
}

// noWeights says what a component's folder holds instead of weights.
func noWeights(dir, component string, entries []fs.DirEntry) error {
	var others []string
	for _, e := range entries {
		if isWeightName(e.Name()) {
			others = append(others, e.Name())
		}
	}
	err := &FileError{File: dir, What: "no weights", Allowed: fmt.Sprintf("%s[.variant].safetensors, %s[.variant].bin, or a shard index of such", baseName(component), pickleName(component))}
	if len(others) > 0 {
		err.What += "; there are: " + shorten(strings.Join(others, ", "))
	}
	return err
}
