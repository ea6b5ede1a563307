package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/embedding"
)

// ReadTextualInversions reads the files of -embedding, each FILE or FILE:NAME; without NAME it is the file's own without
// its extension. Two of one name, in any case, are a usage error: tokenizers can't tell them apart.
func ReadTextualInversions(values []string) (list []sdxl.TextualInversion, err error) {
	from := map[string]string{}
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
		if other, twice := from[strings.ToLower(e.Name)]; twice {
			return nil, Usagef("-embedding %s: has the name %q, as %s: must have another, FILE:NAME", path, e.Name, other)
		}
		from[strings.ToLower(e.Name)] = path
		list = append(list, sdxl.NewTextualInversion(e))
	}
	return list, nil
}
