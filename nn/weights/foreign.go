package weights

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/goxl/goxl/internal/standin"
)

// foreign names the format of a file that is no safetensors file, by its first bytes; "" if it does not know it.
func foreign(data []byte) string {
	data = data[:min(len(data), standin.Head)]
	if what := standin.Describe(data); what != "" {
		return what
	}
	switch {
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return "a zip archive, as PyTorch writes pickles, " + convert
	case isPickle(data):
		return "a Python pickle, " + convert
	case bytes.HasPrefix(data, []byte("GGUF")):
		return "a GGUF file"
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")), bytes.HasPrefix(data, []byte("\xff\xd8\xff")), bytes.HasPrefix(data, []byte("RIFF")):
		return "an image"
	case isText(data):
		return fmt.Sprintf("a text that starts with %.40q, perhaps a server's answer in place of the file", data)
	}
	return ""
}

// convert is the advice about pickles.
const convert = "which could run any code when it is loaded: convert it to safetensors, as diffusers' save_pretrained does"

// isPickle reports whether data starts as a pickle of the protocols 2 to 5 and not as a safetensors file whose header
// is that long.
func isPickle(data []byte) bool {
	return len(data) > 1 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5 && !startsObject(data)
}

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
