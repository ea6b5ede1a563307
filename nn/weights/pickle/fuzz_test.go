package pickle

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse parses anything. Whatever comes back is in bounds and within the limits.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../testdata/pickles/*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(saved(f, dictOf(text("a"), four)))
	f.Add([]byte(legacyOf(1001, littleEndian, dictOf(text("a"), four), "]("+text("0")+"e", counted(4, "0123456789abcdef"))))
	f.Fuzz(check)
}

// FuzzPickle parses the pickle of an archive alone: fuzzing finds no sums of archives.
func FuzzPickle(f *testing.F) {
	for _, body := range []string{
		dictOf(text("a"), four), dictOf(text("state_dict"), dictOf(text("b"), four)), tupleOf(four), "}q\x00" + text("a") + "h\x00s",
		callOf("collections", "OrderedDict", "]("+tupleOf(text("a"), four)+"e"), callOf("os", "system"),
		dictOf(text("a"), callOf("torch._utils", "_rebuild_tensor_v3", storageOf("UntypedStorage", "0", 16), number(0), numbers(2, 2), numbers(1, 2), "\x89", "N", class("torch", "float8_e5m2"))),
		callOf("torch._tensor", "_rebuild_from_type_v2", class("torch._utils", "_rebuild_parameter"), class("torch", "Tensor"), tupleOf(four, "N", "N"), "N"),
		"\x95\x00\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01G\x3f\xf0\x00\x00\x00\x00\x00\x00\x8c\x01x\x94e",
	} {
		f.Add([]byte(program(body)))
	}
	f.Fuzz(func(t *testing.T, pickle []byte) {
		check(t, archiveOf(t, 0, "a/data.pkl", string(pickle), "a/data/0", "0123456789abcdef", "a/data/1", "0123456789abcdef0123456789abcdef"))
	})
}

func check(t *testing.T, data []byte) {
	file, err := Parse(data)
	if err != nil {
		if len(err.Error()) > 8192 {
			t.Errorf("error of %d bytes", len(err.Error()))
		}
		return
	}
	last := ""
	for i, x := range file.Tensors {
		if i > 0 && x.Name <= last {
			t.Fatalf("%q after %q", x.Name, last)
		}
		last = x.Name
		elements, end := 1, x.Size // bytes to the last element's end
		for d, n := range x.Shape {
			if n < 0 || n > maxDim || n > 0 && elements > 1<<48/n {
				t.Fatalf("%q has shape %v", x.Name, x.Shape)
			}
			elements *= n
			if x.Strides != nil {
				end += (n - 1) * x.Strides[d] * x.Size
			}
		}
		if x.Strides == nil || elements == 0 {
			end = elements * x.Size
		}
		if len(x.Data) != end || cap(x.Data) != end || elements*x.Size > maxExpanded && elements*x.Size > len(data)*maxInflated {
			t.Fatalf("%q of shape %v, strides %v, has %d bytes, want %d", x.Name, x.Shape, x.Strides, len(x.Data), end)
		}
		if x.Offset >= 0 && end > 0 && &x.Data[0] != &data[x.Offset] {
			t.Fatalf("%q does not lie at %d", x.Name, x.Offset)
		}
	}
}
