package embedding

import (
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// bundlePrefix starts the names of embeddings in a LoRA: bundle_emb.NAME.clip_l, or bundle_emb.NAME.string_to_param.*.
const bundlePrefix = "bundle_emb."

// Bundled reads the embeddings inside a LoRA, as OneTrainer writes them, in the order of their names. file
// is what errors call the source.
func Bundled(src kernels.Source, file string) (list []*Embedding, err error) {
	var names []string
	for _, tensor := range src.Names() {
		if name, _, ok := cutBundle(tensor); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		inner := weights.Rename(src, func(tensor string) string {
			if of, part, ok := cutBundle(tensor); ok && of == name {
				return part
			}
			return ""
		})
		e, err := Read(inner, file+": "+bundlePrefix+name, name)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// cutBundle takes a bundled tensor's name apart. An embedding's name may have dots.
func cutBundle(tensor string) (name, part string, ok bool) {
	inner, ok := strings.CutPrefix(tensor, bundlePrefix)
	if !ok {
		return "", "", false
	}
	if at := strings.LastIndex(inner, ".string_to_param"); at > 0 {
		return inner[:at], inner[at+1:], true
	}
	at := strings.LastIndexByte(inner, '.')
	if at <= 0 {
		return "", "", false
	}
	return inner[:at], inner[at+1:], true
}
