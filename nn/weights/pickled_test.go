package weights

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

const pickles = "testdata/pickles/"

// sameTensor compares a tensor of a file with one of another.
func sameTensor(t *testing.T, got *File, name string, want *File, wantName string) {
	t.Helper()
	stored, shape, size, err := got.Stored(name)
	wantStored, wantShape, wantSize, err2 := want.Stored(wantName)
	if err := errors.Join(err, err2); err != nil || stored != wantStored || !slices.Equal(shape, wantShape) || size != wantSize {
		t.Errorf("%s %s: %s %v, %d bytes; want %s %v, %d; error %v", got.Path(), name, stored, shape, size, wantStored, wantShape, wantSize, err)
		return
	}
	raw, err := got.Raw(name)
	wantRaw, err2 := want.Raw(wantName)
	if err := errors.Join(err, err2); err != nil || !bytes.Equal(raw, wantRaw) {
		t.Errorf("%s %s: % x, want % x, error %v", got.Path(), name, raw, wantRaw, err)
	}
	dtype, shape, data, err := got.Tensor(name)
	wantType, _, wantData, err2 := want.Tensor(wantName)
	if (err == nil) != (err2 == nil) || dtype != wantType || err == nil && !slices.Equal(shape, wantShape) || !bytes.Equal(data, wantData) {
		t.Errorf("%s %s: %v % x, want %v % x; errors %v, %v", got.Path(), name, dtype, data, wantType, wantData, err, err2)
	}
	var de *DTypeError
	if err != nil && !errors.As(err, &de) {
		t.Errorf("%s %s: error %v", got.Path(), name, err)
	}
}

// TestPickles reads files that torch.save wrote: every element type, views, strides and shared storages, in both forms
// and of several protocols.
func TestPickles(t *testing.T) {
	twin, err := Open(pickles + "twin.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close()
	for _, file := range []string{"zip2.pt", "zip5.bin", "legacy2.ckpt", "legacy4.pth", "deflated.pt"} {
		f, err := Open(pickles + file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if !slices.Equal(f.Names(), twin.Names()) {
			t.Errorf("%s: names %v, want %v", file, f.Names(), twin.Names())
			continue
		}
		for _, name := range f.Names() {
			sameTensor(t, f, name, twin, name)
		}
		if err := f.Release(); err != nil {
			t.Error(err)
		}
		sameTensor(t, f, "transposed", twin, "transposed")
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, _, _, err := f.Tensor("f32"); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: closed: error %v", file, err)
		}
	}
}

// TestPickledStorage: a tensor of an archive lies in the file's pages, what was compressed is kept, and what has to be
// put in order is made.
func TestPickledStorage(t *testing.T) {
	for file, want := range map[string]map[string]kernels.Storage{
		"zip2.pt":     {"f32": kernels.Mapped, "rows": kernels.Mapped, "same": kernels.Mapped, "transposed": kernels.Made, "steps": kernels.Made, "e4m3": kernels.Made, "i64": kernels.Made},
		"deflated.pt": {"f32": kernels.Kept, "transposed": kernels.Made},
	} {
		f, err := Open(pickles + file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for name, want := range want {
			if !mapping && want == kernels.Mapped {
				want = kernels.Kept
			}
			if got := f.Storage(name); got != want {
				t.Errorf("%s %s: storage %d, want %d", file, name, got, want)
			}
		}
	}
}

// TestPickledNames reads checkpoints, embeddings and adapters: what is around the tensors, and what they are called.
func TestPickledNames(t *testing.T) {
	named, err := Open(pickles + "named.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	want := map[string][]string{}
	for _, full := range named.Names() {
		file, name, _ := strings.Cut(full, "/")
		want[file] = append(want[file], name)
	}
	if len(want) != 7 {
		t.Fatalf("the golden has %d files", len(want))
	}
	for file, names := range want {
		f, err := Open(pickles + file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		defer f.Close()
		if !slices.Equal(f.Names(), names) {
			t.Errorf("%s: names %q, want %q", file, f.Names(), names)
			continue
		}
		for _, name := range names {
			sameTensor(t, f, name, named, file+"/"+name)
		}
		if m := f.Metadata(); file == "embedding_a1111.pt" && (m["name"] != "style" || m["step"] != "500") {
			t.Errorf("%s: metadata %v", file, m)
		}
	}
}

// TestPicklesRefused opens files of Python that are no tensors by name, and damaged ones.
func TestPicklesRefused(t *testing.T) {
	for file, want := range map[string]string{
		"calls.pt":  "the pickle calls posix.system: refused; allowed: tensors, numbers, strings, lists and dictionaries; no code of a file is run",
		"module.pt": "the pickle calls torch.nn.modules.linear.Linear: refused",
		"tensor.pt": "the file holds a tensor; allowed: a dictionary of tensors",
		"list.pt":   "the file holds a list",
		"bare.pkl":  "a pickle that torch.save did not write (it holds a dictionary)",
	} {
		f, err := Open(pickles + file)
		var fe *FileError
		if !errors.As(err, &fe) || fe.File != pickles+file || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, error %v, want %q", file, f, err, want)
		}
	}
	for _, file := range []string{"zip2.pt", "legacy2.ckpt"} {
		whole, err := os.ReadFile(pickles + file)
		if err != nil {
			t.Fatal(err)
		}
		for n := 4; n < len(whole); n += 97 {
			path := filepath.Join(t.TempDir(), file)
			if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			var fe *FileError
			if _, err := Open(path); !errors.As(err, &fe) || fe.File != path {
				t.Fatalf("%s, %d bytes of it: error %v", file, n, err)
			}
		}
	}
}

// TestPickledComponents opens folders as older versions of diffusers wrote them: pickles are taken where there are no
// safetensors files.
func TestPickledComponents(t *testing.T) {
	data, err := os.ReadFile(pickles + "zip5.bin")
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := os.ReadFile(pickles + "legacy2.ckpt")
	if err != nil {
		t.Fatal(err)
	}
	const unet, clip = "unet/diffusion_pytorch_model", "text_encoder/pytorch_model"
	f16 := Variant{Precision: kernels.F16}
	for _, c := range []struct {
		component string
		files     []string
		variant   Variant
		want      string
	}{
		{"unet", []string{unet + ".bin"}, f16, unet + ".bin"},
		{"text_encoder", []string{clip + ".bin", "text_encoder/model.fp32.bin"}, f16, clip + ".bin"},
		{"text_encoder", []string{clip + ".bin", clip + ".fp16.bin"}, f16, clip + ".fp16.bin"},
		{"text_encoder", []string{clip + ".fp16.bin", "text_encoder/model.safetensors"}, f16, "text_encoder/model.safetensors"},
		{"unet", []string{unet + ".bin.index.json", unet + "-00001-of-00001.bin"}, Variant{}, unet + ".bin.index.json"},
		{"unet", []string{unet + ".bin.index.fp16.json", unet + ".fp16-00001-of-00001.bin", unet + ".fp16.bin"}, f16, unet + ".bin.index.fp16.json"},
	} {
		content := map[string]string{indexFile: baseIndex}
		for i, file := range c.files {
			content[file] = string(data)
			if i%2 == 1 {
				content[file] = string(legacy)
			}
			if strings.HasSuffix(file, ".json") {
				content[file] = `{"weight_map":{"f32":"` + filepath.Base(c.files[i+1]) + `"}}`
			}
		}
		dir := layout(t, content)
		folder, err := OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		src, err := folder.Component(c.component, c.variant)
		if err != nil || src.Path() != filepath.Join(dir, filepath.FromSlash(c.want)) {
			t.Errorf("%v: %v, error %v, want %s", c.files, src, err, c.want)
			continue
		}
		defer src.Close()
		if _, shape, _, err := src.Tensor("f32"); err != nil || !slices.Equal(shape, []int{6, 8}) {
			t.Errorf("%v: %v, error %v", c.files, shape, err)
		}
	}
}

// FuzzPickled reads every tensor of what looks like a file of torch.save.
func FuzzPickled(f *testing.F) {
	files, err := filepath.Glob(pickles + "*")
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
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse("fuzz", data)
		if err != nil || !isPickle(data) {
			return
		}
		for _, name := range m.Names() {
			_, shape, size, err := m.Stored(name)
			if err != nil {
				t.Fatal(err)
			}
			if raw, err := m.Raw(name); err != nil || int64(len(raw)) != size {
				t.Fatalf("%q of shape %v: %d bytes of %d, error %v", name, shape, len(raw), size, err)
			}
			dtype, _, got, err := m.Tensor(name)
			if err == nil && len(got) != kernels.Elements(shape)*dtype.Size() {
				t.Fatalf("%q of shape %v and %v: %d bytes", name, shape, dtype, len(got))
			}
		}
		RecogniseTensors(m)
	})
}
