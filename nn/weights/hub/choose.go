package hub

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights"
)

// choose lists the files of a repository that goxl reads: those of a model in diffusers' layout, or the only safetensors
// file at its root. index reads model_index.json.
func choose(paths []string, v weights.Variant, index func() ([]byte, error)) ([]string, error) {
	if slices.Contains(paths, weights.IndexFile) {
		data, err := index()
		if err != nil {
			return nil, err
		}
		parsed, err := weights.ParseIndex(data, weights.IndexFile)
		if err != nil {
			return nil, err
		}
		return weights.PipelineFiles(parsed, paths, v)
	}
	var single []string
	for _, p := range paths {
		if path.Dir(p) == "." && strings.HasSuffix(p, ".safetensors") {
			single = append(single, p)
		}
	}
	switch len(single) {
	case 1:
		return single, nil
	case 0:
		return nil, fmt.Errorf("it has no %s, and no safetensors file beside its README: must be a model in diffusers' layout, or a file", weights.IndexFile)
	}
	slices.Sort(single)
	return nil, fmt.Errorf("it has no %s, and several files: choose one by ORG/NAME/FILE: %s", weights.IndexFile, strings.Join(single, ", "))
}
