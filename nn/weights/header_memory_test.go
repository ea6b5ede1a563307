package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestLargeHeaders: a header as long as there may be is refused, or read, without taking much more memory than it has
// bytes.
func TestLargeHeaders(t *testing.T) {
	const size = maxHeader - 1_000_000
	// entries are so many, each with a name of so many digits, and white space up to the size.
	entries := func(n, digits int) func(*bytes.Buffer) {
		return func(b *bytes.Buffer) {
			b.WriteString("{")
			for i := range n {
				fmt.Fprintf(b, `"%0*d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},`, digits, i)
			}
			b.Write(bytes.Repeat([]byte(" "), size-b.Len()))
		}
	}
	for what, c := range map[string]struct {
		says  string // "" is a header that is read
		write func(*bytes.Buffer)
	}{
		"zeros":         {"not valid JSON", func(b *bytes.Buffer) { b.WriteString("{"); b.Write(make([]byte, size)) }},
		"lists":         {"data_offsets holds", func(b *bytes.Buffer) { b.WriteString(`{"a":{"data_offsets":` + strings.Repeat("[", size)) }},
		"an open name":  {"not valid JSON", func(b *bytes.Buffer) { b.WriteString(`{"` + strings.Repeat("a", size)) }},
		"a long number": {"data_offsets holds", func(b *bytes.Buffer) { b.WriteString(`{"a":{"data_offsets":[` + strings.Repeat("1", size) + ",") }},
		"long names":    {"not valid JSON", entries(90_000, 999)},
		"many keys":     {"header has too many keys", entries(maxTensors+1, 1)},
		"metadata": {"", func(b *bytes.Buffer) {
			b.WriteString(`{"__metadata__":{"a":"` + strings.Repeat("b", size-30) + `"}}`)
		}},
	} {
		b := bytes.NewBuffer(make([]byte, 8, size+2048))
		c.write(b)
		data := b.Bytes()
		binary.LittleEndian.PutUint64(data, uint64(len(data)-8))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Parse("m", data)
		runtime.ReadMemStats(&after)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 1000):
			t.Errorf("%s: %.200v, want %q", what, err, c.says)
		}
		if err == nil && len(f.Metadata()["a"]) < size-100 {
			t.Errorf("%s: metadata of %d bytes", what, len(f.Metadata()["a"]))
		}
		// All that was allocated, the buffers that the decoder outgrew too: at once it is half of that.
		if took := float64(after.TotalAlloc-before.TotalAlloc) / size; took > 5 {
			t.Errorf("%s: %.1f bytes of memory for each byte of the header", what, took)
		}
	}
}
