package lora

import (
	"path/filepath"
	"strings"
)

// ParseFile splits "FILE", "FILE:0.8" and "FILE:0.8:te=0.5" into a path, which may hold colons, and what
// [ParseStrengths] reads.
func ParseFile(text string) (path string, s Strengths, err error) {
	for i := 0; i < len(text); i++ {
		if text[i] != ':' || i == 0 {
			continue
		}
		s, err := ParseStrengths(text[i+1:])
		switch strings.ToLower(filepath.Ext(text[:i])) {
		case ".safetensors", ".pt", ".bin", ".ckpt": // the path ends here, whatever follows
			return text[:i], s, err
		}
		if err == nil && i+1 < len(text) {
			return text[:i], s, nil
		}
	}
	return text, Strength(1), nil
}
