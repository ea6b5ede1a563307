package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/embedding"
)

// ReadTextualInversions reads the files of -embedding, each FILE or FILE:NAME; without NAME it is the file's own without
// its extension. Two files of one name, in any case, are the halves for the two text encoders, as diffusers'
// load_textual_inversion takes them; others are a usage error, since tokenizers can't tell them apart.
func ReadTextualInversions(values []string) (list []sdxl.TextualInversion, err error) {
	var found []*embedding.Embedding
	from := map[string]string{} // the file of a name, its last one
	for _, value := range values {
		path, name := value, ""
		if _, err := os.Stat(value); err != nil { // a file may have a colon in its name
			if at := strings.LastIndexByte(value, ':'); at > 0 {
				path, name = value[:at], value[at+1:]
			}
		}
		e, err := embedding.Open(path, name)
		if err != nil {
			return nil, fmt.Errorf("-embedding: %w", err)
		}
		key := strings.ToLower(e.Name)
		switch i := slices.IndexFunc(found, func(f *embedding.Embedding) bool { return strings.ToLower(f.Name) == key }); {
		case i < 0:
			found = append(found, e)
		case !found[i].Join(e):
			return nil, Usagef("-embedding %s: has the name %q, as %s: must have another, FILE:NAME, unless one file has vectors for clip_l alone and the other for clip_g", path, e.Name, from[key])
		}
		from[key] = path
	}
	for _, e := range found {
		list = append(list, sdxl.NewTextualInversion(e))
	}
	return list, nil
}
