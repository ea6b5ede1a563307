package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// raw puts a header before data, as a safetensors file has it.
func raw(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for i := range data {
		b = append(b, byte(i+1))
	}
	return b
}

const oneTensor = `{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}`

var damaged = []struct {
	name, want string
	file       []byte
}{
	{"empty", "too short", nil},
	{"seven bytes", "too short", make([]byte, 7)},
	{"zero header", "not valid JSON", make([]byte, 8)},
	{"header too long", "header of 100000001 bytes; allowed: at most", binary.LittleEndian.AppendUint64(nil, maxHeader+1)},
	{"header length overflows", "header of 18446744073709551615", bytes.Repeat([]byte{255}, 16)},
	{"truncated header", "truncated", raw(oneTensor, 4)[:20]},
	{"truncated data", "damaged or incomplete", raw(oneTensor, 3)},
	{"no data", "damaged or incomplete", raw(oneTensor, 0)},
	{"trailing data", "damaged or incomplete", raw(oneTensor, 5)},
	{"null", "header is not an object", raw("null", 0)},
	{"trailing NUL", "goes on", raw(oneTensor+"\x00", 4)},
	{"second object", "goes on", raw(oneTensor+"{}", 4)},
	{"cut JSON", "not valid JSON", raw(oneTensor[:30], 4)},
	{"missing comma", "not valid JSON", raw(`{"a":{"dtype":"F16" "shape":[2]}}`, 4)},
	{"duplicate tensor", `the key "a" twice`, raw(strings.TrimSuffix(oneTensor, "}")+","+oneTensor[1:], 4)},
	{"duplicate key by escape", `the key "a" twice`, raw(strings.TrimSuffix(oneTensor, "}")+`,"\u0061`+oneTensor[3:], 4)},
	{"duplicate dtype", `tensor "a": entry has the key "dtype" twice`, raw(`{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,4]}}`, 4)},
	{"duplicate metadata", `"__metadata__" twice`, raw(`{"__metadata__":{},"__metadata__":{}}`, 0)},
	{"duplicate metadata key", `"k" twice`, raw(`{"__metadata__":{"k":"1","k":"2"}}`, 0)},
	{"metadata not a string", `"k" is not a string`, raw(`{"__metadata__":{"k":1}}`, 0)},
	{"metadata not an object", "not an object", raw(`{"__metadata__":[]}`, 0)},
	{"name not UTF-8", "UTF-8", raw("{\"\xff\":"+oneTensor[5:], 4)},
	{"metadata not UTF-8", "header is not valid UTF-8", raw("{\"__metadata__\":{\"k\":\"\xff\"}}", 0)},
	{"lone surrogate", "UTF-8", raw(`{"\ud800":`+oneTensor[5:], 4)},
	{"name too long", "name of 1025 bytes", raw(`{"`+strings.Repeat("x", maxName+1)+`":`+oneTensor[5:], 4)},
	{"unknown key", `unknown key "strides"`, raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4],"strides":[1]}}`, 4)},
	{"entry not an object", `tensor "a": entry is not an object`, raw(`{"a":[]}`, 0)},
	{"missing dtype", "dtype is missing", raw(`{"a":{"shape":[2],"data_offsets":[0,4]}}`, 4)},
	{"missing shape", "shape is missing", raw(`{"a":{"dtype":"F16","data_offsets":[0,4]}}`, 4)},
	{"missing offsets", "data_offsets are missing", raw(`{"a":{"dtype":"F16","shape":[2]}}`, 4)},
	{"one offset", "data_offsets are missing or not two", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[4]}}`, 4)},
	{"three offsets", "more than 2", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4,8]}}`, 4)},
	{"backward offsets", "backwards", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[4,0]}}`, 4)},
	{"unknown type", `tensor "a": unknown element type "F8_E4M3FN"; allowed: F32, F16, BF16`, raw(`{"a":{"dtype":"F8_E4M3FN","shape":[4],"data_offsets":[0,4]}}`, 4)},
	{"dtype not a string", "not a string", raw(`{"a":{"dtype":16,"shape":[2],"data_offsets":[0,4]}}`, 4)},
	{"shape mismatch", `tensor "a": 4 bytes of data, but shape [3] of F16 takes 6`, raw(`{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}}`, 4)},
	{"shape overflow", "larger than any file", raw(`{"a":{"dtype":"F16","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,4]}}`, 4)},
	{"large dimension", "holds 2147483648; allowed", raw(`{"a":{"dtype":"F16","shape":[0,2147483648],"data_offsets":[0,0]}}`, 0)},
	{"negative dimension", "holds -2", raw(`{"a":{"dtype":"F16","shape":[-2],"data_offsets":[0,4]}}`, 4)},
	{"float dimension", "holds 2.0", raw(`{"a":{"dtype":"F16","shape":[2.0],"data_offsets":[0,4]}}`, 4)},
	{"string dimension", "not a number", raw(`{"a":{"dtype":"F16","shape":["2"],"data_offsets":[0,4]}}`, 4)},
	{"nested shape", "not a number", raw(`{"a":{"dtype":"F16","shape":[[2]],"data_offsets":[0,4]}}`, 4)},
	{"shape not a list", "shape is not a list", raw(`{"a":{"dtype":"F16","shape":2,"data_offsets":[0,4]}}`, 4)},
	{"rank", "more than 8", raw(`{"a":{"dtype":"F16","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,4]}}`, 4)},
	{"overlap", "damaged", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}`, 6)},
	{"hole", "damaged", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[2],"data_offsets":[6,10]}}`, 10)},
	{"hole at the start", "damaged", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}`, 6)},
	{"offsets outside", "damaged", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[9223372036854775800,9223372036854775804]}}`, 4)},
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	for _, c := range damaged {
		path := filepath.Join(dir, c.name+".safetensors")
		if err := os.WriteFile(path, c.file, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		var fe *FileError
		if !errors.As(err, &fe) {
			t.Errorf("%s: error %v, want a FileError", c.name, err)
			continue
		}
		if fe.File != path || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %q, want the path and %q", c.name, err, c.want)
		}
		if len(err.Error()) > 2000 {
			t.Errorf("%s: error of %d bytes", c.name, len(err.Error()))
		}
	}
}

func TestTooManyTensors(t *testing.T) {
	var b strings.Builder
	for i := range maxTensors + 1 {
		fmt.Fprintf(&b, `%c"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, "{,"[min(i, 1)], i)
	}
	_, err := Parse("many", raw(b.String()+"}", 0))
	if err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("error %v", err)
	}
}

func TestOpenNotAFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: error %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder: error %v", err)
	}
}

func TestTensor(t *testing.T) {
	header := `{"__metadata__":{"format":"pt"},"f32":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},` +
		`"ids":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},"scalar":{"dtype":"BF16","shape":[],"data_offsets":[16,18]},` +
		`"none":{"dtype":"F16","shape":[0,3],"data_offsets":[18,18]},"":{"dtype":"F16","shape":[1],"data_offsets":[18,20]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := os.WriteFile(path, raw(header, 20), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "f32", "ids", "none", "scalar"}; !slices.Equal(f.Names(), want) {
		t.Errorf("names %q, want %q", f.Names(), want)
	}
	if f.Metadata()["format"] != "pt" || f.Path() != path {
		t.Errorf("metadata %v, path %s", f.Metadata(), f.Path())
	}
	for _, c := range []struct {
		name  string
		dtype kernels.DType
		shape []int
		data  []byte
	}{
		{"f32", kernels.F32, []int{1, 2}, []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		{"scalar", kernels.BF16, []int{}, []byte{17, 18}},
		{"none", kernels.F16, []int{0, 3}, nil},
		{"", kernels.F16, []int{1}, []byte{19, 20}},
	} {
		dtype, shape, data, err := f.Tensor(c.name)
		if err != nil || dtype != c.dtype || !slices.Equal(shape, c.shape) || !bytes.Equal(data, c.data) || cap(data) != len(data) {
			t.Errorf("%q: %v %v %v cap %d, error %v; want %v %v %v", c.name, dtype, shape, data, cap(data), err, c.dtype, c.shape, c.data)
		}
	}
	_, _, data, _ := f.Tensor("f32")
	if base := 8 + len(header); &data[0] != &f.data[base] {
		t.Error("the data does not alias the file")
	}
	var de *DTypeError
	if _, _, _, err := f.Tensor("ids"); !errors.As(err, &de) || de.DType != "I64" || de.Tensor != "ids" {
		t.Errorf("ids: error %v", err)
	}
	if dtype, shape, n, err := f.Stored("ids"); err != nil || dtype != "I64" || n != 8 || !slices.Equal(shape, []int{1}) {
		t.Errorf("ids stored as %s %v %d, error %v", dtype, shape, n, err)
	}
	var ne *NameError
	if _, _, _, err := f.Tensor("other"); !errors.As(err, &ne) {
		t.Errorf("unknown tensor: error %v", err)
	}
	if _, _, _, err := f.Stored("other"); !errors.As(err, &ne) {
		t.Errorf("unknown tensor: error %v", err)
	}
	if err := errors.Join(f.Release(), f.Close(), f.Close(), f.Release()); err != nil {
		t.Error(err)
	}
	if _, _, _, err := f.Tensor("f32"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: error %v", err)
	}
}

// TestUnaligned reads a float32 tensor at every offset in memory: the data must be right and at an address that a float32 can have.
func TestUnaligned(t *testing.T) {
	header := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`
	for pad := range 8 {
		f, err := Parse("m", raw(header+strings.Repeat(" ", pad), 8))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, _, data, err := f.Tensor("a")
				if err != nil || !bytes.Equal(data, []byte{1, 2, 3, 4, 5, 6, 7, 8}) {
					t.Errorf("pad %d: %v, error %v", pad, data, err)
				}
				if uintptr(unsafe.Pointer(&data[0]))%4 != 0 {
					t.Errorf("pad %d: data at %p", pad, &data[0])
				}
			})
		}
		wg.Wait()
	}
}

// TestCopiesAreReleased: what was copied is not kept beside the file once nobody uses it, and is there again when it is
// asked for. What somebody still holds stays as it is.
func TestCopiesAreReleased(t *testing.T) {
	f, err := Parse("m", raw(`{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}`, 8))
	if err != nil {
		t.Fatal(err)
	}
	read := func() []byte {
		_, _, data, err := f.Tensor("a")
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	held := read()
	want := bytes.Clone(held)
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	if f.entries["a"].copy != nil {
		t.Error("the file keeps its copy")
	}
	if again := read(); !bytes.Equal(held, want) || !bytes.Equal(again, want) {
		t.Errorf("held %v, read again %v: want %v", held, again, want)
	}
}

func FuzzOpen(f *testing.F) {
	for _, c := range damaged {
		f.Add(c.file)
	}
	f.Add(raw(oneTensor, 4))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Parse("fuzz", file)
		if err != nil {
			if len(err.Error()) > 8192 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			return
		}
		total := 0
		for _, name := range m.Names() {
			_, shape, stored, err := m.Stored(name)
			if err != nil {
				t.Fatal(err)
			}
			total += int(stored)
			dtype, _, data, err := m.Tensor(name)
			var de *DTypeError
			if errors.As(err, &de) {
				continue
			}
			n := dtype.Size()
			for _, d := range shape {
				n *= d
			}
			if m.entries[name].cast != nil {
				if err != nil || len(data) != n || int(stored) != 2*n && int(stored) != n/2 {
					t.Fatalf("%q %v %v: %d bytes of %d, error %v", name, dtype, shape, len(data), stored, err)
				}
				continue
			}
			if err != nil || len(data) != n || len(data) != cap(data) || n > len(file) {
				t.Fatalf("%q %v %v: %d bytes, error %v", name, dtype, shape, len(data), err)
			}
			e := m.entries[name]
			if e.begin < 8 || e.end > len(file) || !bytes.Equal(data, file[e.begin:e.end]) {
				t.Fatalf("%q lies at %d to %d of %d", name, e.begin, e.end, len(file))
			}
		}
		if header := int(binary.LittleEndian.Uint64(file)); 8+header+total != len(file) {
			t.Fatalf("tensors of %d bytes and a header of %d in a file of %d", total, header, len(file))
		}
		RecogniseTensors(m)
	})
}
