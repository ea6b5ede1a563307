package weights

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/goxl/goxl/internal/standin"
	"github.com/goxl/goxl/nn/weights/pickle"
)

// foreign names the format of a file that is neither a safetensors file nor a pickle, by its first bytes; "" if it does not know it.
func foreign(data []byte) string {
	data = data[:min(len(data), standin.Head)]
	if what := standin.Describe(data); what != "" {
		return what
	}
	switch {
	case len(data) > 262 && string(data[257:262]) == "ustar":
		return "a tar archive, which PyTorch wrote before 2017; torch.save of a newer one writes what is read here"
	case bytes.HasPrefix(data, []byte("GGUF")):
		return "a GGUF file"
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")), bytes.HasPrefix(data, []byte("\xff\xd8\xff")), bytes.HasPrefix(data, []byte("RIFF")):
		return "an image"
	case isText(data):
		return fmt.Sprintf("a text that starts with %.40q, perhaps a server's answer in place of the file", data)
	}
	return ""
}

// isPickle reports whether a file is one for package pickle and not a safetensors file whose header is that long.
func isPickle(data []byte) bool { return pickle.Starts(data) && !startsObject(data) }

// startsObject reports whether a JSON object starts where a safetensors file has its header.
func startsObject(data []byte) bool {
	return len(data) > 8 && bytes.HasPrefix(bytes.TrimLeft(data[8:], jsonSpace), []byte("{"))
}

// isText reports whether data is text; a safetensors file is not, as the length at its start has zero bytes.
func isText(data []byte) bool {
	for utf8.FullRune(data) { // the last one may be cut
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) && r != '\t' && r != '\r' && r != '\n' {
			return false
		}
		data = data[n:]
	}
	return true
}
