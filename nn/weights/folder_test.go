package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

const baseIndex = `{"_class_name":"StableDiffusionXLPipeline","_diffusers_version":"0.19.0","force_zeros_for_empty_prompt":true,"add_watermarker":null,
"text_encoder":["transformers","CLIPTextModel"],"text_encoder_2":["transformers","CLIPTextModelWithProjection"],
"unet":["diffusers","UNet2DConditionModel"],"vae":["diffusers","AutoencoderKL"],"scheduler":["diffusers","EulerDiscreteScheduler"],
"image_encoder":[null,null]}`

// layout writes files under a new folder: text, or with the content "weights:X" a safetensors file whose only tensor is named X.
func layout(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if tensor, ok := strings.CutPrefix(content, "weights:"); ok {
			if err := Write(path, []Tensor{NewTensor(tensor, kernels.F16, []int{1}, make([]byte, 2))}, nil); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// writeShards writes tensors to n shards and their index, under the newer spelling of names or the older.
func writeShards(t *testing.T, dir, base, variant string, older bool, tensors []Tensor, n int) {
	t.Helper()
	stem, middle, index := base, "", base+".safetensors.index.json"
	switch {
	case variant != "" && older:
		middle, index = "."+variant, base+".safetensors."+variant+".index.json"
	case variant != "":
		stem, index = base+"."+variant, base+".safetensors.index."+variant+".json"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	weightMap := map[string]string{}
	for i, part := range slices.Collect(slices.Chunk(tensors, (len(tensors)+n-1)/n)) {
		shard := fmt.Sprintf("%s-%05d-of-%05d%s.safetensors", stem, i+1, n, middle)
		if err := Write(filepath.Join(dir, shard), part, nil); err != nil {
			t.Fatal(err)
		}
		for _, tensor := range part {
			weightMap[tensor.Name] = shard
		}
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": weightMap})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, index), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestComponentChoosesFile(t *testing.T) {
	const unet, te = "unet/diffusion_pytorch_model", "text_encoder/model"
	f32, f16, bf16 := Variant{Precision: kernels.F32}, Variant{Precision: kernels.F16}, Variant{Precision: kernels.BF16}
	for _, c := range []struct {
		name      string
		files     []string
		component string
		variant   Variant
		want      string // the chosen file, or part of the error
	}{
		{"fp32 prefers plain", []string{unet + ".safetensors", unet + ".fp16.safetensors"}, "unet", f32, unet + ".safetensors"},
		{"fp16 prefers the variant", []string{unet + ".safetensors", unet + ".fp16.safetensors"}, "unet", f16, unet + ".fp16.safetensors"},
		{"bf16 prefers the fp16 variant", []string{unet + ".safetensors", unet + ".fp16.safetensors"}, "unet", bf16, unet + ".fp16.safetensors"},
		{"no precision", []string{unet + ".safetensors", unet + ".fp16.safetensors"}, "unet", Variant{}, unet + ".fp16.safetensors"},
		{"fp32 takes fp16", []string{te + ".fp16.safetensors"}, "text_encoder", f32, te + ".fp16.safetensors"},
		{"fp16 takes plain", []string{te + ".safetensors"}, "text_encoder", f16, te + ".safetensors"},
		{"the only variant", []string{te + ".ema.safetensors"}, "text_encoder", f16, te + ".ema.safetensors"},
		{"two other variants", []string{te + ".ema.safetensors", te + ".bf16.safetensors"}, "text_encoder", f16, "choose a variant of: bf16, ema"},
		{"plain before other variants", []string{te + ".ema.safetensors", te + ".safetensors"}, "text_encoder", f16, te + ".safetensors"},
		{"named", []string{te + ".ema.safetensors", te + ".safetensors"}, "text_encoder", Variant{Name: "ema"}, te + ".ema.safetensors"},
		{"named beats precision", []string{te + ".ema.safetensors", te + ".fp16.safetensors"}, "text_encoder", Variant{Name: "ema", Precision: kernels.F16}, te + ".ema.safetensors"},
		{"named falls back", []string{te + ".safetensors", unet + ".fp16.safetensors"}, "text_encoder", Variant{Name: "fp16"}, te + ".safetensors"},
		{"named nowhere", []string{te + ".safetensors", unet + ".bf16.safetensors"}, "text_encoder", Variant{Name: "fp16"}, `no component has the variant "fp16"; there are: plain (no variant), bf16`},
		{"named elsewhere only", []string{te + ".bf16.safetensors", unet + ".fp16.safetensors"}, "text_encoder", Variant{Name: "fp16"}, "no fp16, plain (no variant) weights; choose a variant of: bf16"},
		{"index before file", []string{unet + ".safetensors", unet + ".safetensors.index.json"}, "unet", f32, unet + ".safetensors.index.json"},
		{"older variant index before file", []string{unet + ".fp16.safetensors", unet + ".safetensors.fp16.index.json"}, "unet", f16, unet + ".safetensors.fp16.index.json"},
		{"index", []string{unet + ".safetensors.index.json", unet + "-00001-of-00002.safetensors"}, "unet", f32, unet + ".safetensors.index.json"},
		{"variant index", []string{unet + ".safetensors.index.fp16.json", unet + ".fp16-00001-of-00002.safetensors"}, "unet", f16, unet + ".safetensors.index.fp16.json"},
		{"older variant index", []string{unet + ".safetensors.fp16.index.json", unet + "-00001-of-00002.fp16.safetensors"}, "unet", f16, unet + ".safetensors.fp16.index.json"},
		{"newer before older index", []string{unet + ".safetensors.fp16.index.json", unet + ".safetensors.index.fp16.json"}, "unet", f16, unet + ".safetensors.index.fp16.json"},
		{"shards without index", []string{unet + "-00001-of-00002.safetensors", unet + ".fp16-00001-of-00002.safetensors"}, "unet", f16, "no weights; there are: diffusion_pytorch_model-00001"},
		{"pickle", []string{"unet/diffusion_pytorch_model.bin"}, "unet", f16, unet + ".bin"},
		{"pickle beside", []string{unet + ".bin", unet + ".safetensors"}, "unet", f16, unet + ".safetensors"},
		{"other name", []string{"unet/model.safetensors"}, "unet", f16, "there are: model.safetensors; allowed: diffusion_pytorch_model[.variant].safetensors, diffusion_pytorch_model[.variant].bin"},
		{"empty", []string{"unet/config.json"}, "unet", f16, "no weights; allowed"},
		{"folder missing", nil, "vae", f16, "lists it but its folder is missing"},
		{"null", nil, "image_encoder", f16, "the model does without it"},
		{"not listed", nil, "vae_2", f16, "no such file"},
		{"path", nil, "../unet", f16, "allowed: the name of a folder"},
	} {
		files := map[string]string{indexFile: baseIndex}
		for _, name := range c.files {
			files[name] = "{}"
		}
		dir := layout(t, files)
		f, err := OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.weightFile(c.component, c.variant)
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != filepath.Join(dir, filepath.FromSlash(c.want)) || err != nil && !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if err != nil && !strings.Contains(got, dir) {
			t.Errorf("%s: the error does not name the folder: %s", c.name, got)
		}
	}
}

func TestFolder(t *testing.T) {
	dir := layout(t, map[string]string{indexFile: baseIndex, "vae/config.json": `{"a":1}`, "vae/diffusion_pytorch_model.safetensors": "weights:x",
		"vae_1_0/diffusion_pytorch_model.safetensors": "weights:x", "image_encoder/x": ""})
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	for component, want := range map[string]bool{"vae": true, "unet": false, "image_encoder": false, "vae_1_0": false, "": false} {
		if f.Has(component) != want {
			t.Errorf("Has(%q) is %v", component, !want)
		}
	}
	if i := f.Index(); i.Class != "StableDiffusionXLPipeline" || i.Components["vae"] != (Class{"diffusers", "AutoencoderKL"}) ||
		string(i.Options["force_zeros_for_empty_prompt"]) != "true" || len(i.Options) != 2 {
		t.Errorf("index %+v", i)
	}
	if data, err := f.ReadFile("vae/config.json"); err != nil || string(data) != `{"a":1}` {
		t.Errorf("ReadFile: %s, error %v", data, err)
	}
	if data, err := fs.ReadFile(f.FS(), "vae/config.json"); err != nil || string(data) != `{"a":1}` {
		t.Errorf("FS: %s, error %v", data, err)
	}
	for _, name := range []string{"../x", "/etc/passwd", "vae"} {
		if _, err := f.ReadFile(name); err == nil {
			t.Errorf("ReadFile(%s) has no error", name)
		}
	}
	if _, err := f.ReadFile("vae/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile: error %v", err)
	}
	for _, component := range []string{"vae", "vae_1_0"} {
		c, err := f.Component(component, Variant{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := c.Tensor("x"); err != nil || len(c.Files()) != 1 || filepath.Dir(c.Path()) != filepath.Join(dir, component) {
			t.Errorf("%s: %s, error %v", component, c.Path(), err)
		}
		var ne *NameError
		if _, _, _, err := c.Tensor("y"); !errors.As(err, &ne) {
			t.Errorf("unknown tensor: error %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenFolderRefuses(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		path  string
		want  string
	}{
		{nil, "none", "no such file"},
		{nil, ".", "an empty folder"},
		{map[string]string{"a.ckpt": "x"}, "a.ckpt", "not a safetensors file or pickle of PyTorch"},
		{map[string]string{"unet/config.json": `{}`}, ".", "no model_index.json, perhaps half downloaded"},
		{map[string]string{"config.json": `{"_class_name":"AutoencoderKL"}`}, ".", "is a VAE component (AutoencoderKL), not a model folder"},
		{map[string]string{indexFile: `{`}, ".", "ends too early"},
		{map[string]string{indexFile: `{}`}, ".", `"_class_name": missing`},
		{map[string]string{indexFile: `{"_class_name":1}`}, ".", `"_class_name" is 1; allowed: a string`},
		{map[string]string{indexFile: `{"_class_name":"X","unet":["diffusers",null]}`}, ".", "[library, class]"},
		{map[string]string{indexFile: `{"_class_name":"X","unet":[null,null],"unet":["a","b"]}`}, ".", "twice"},
	} {
		dir := layout(t, c.files)
		_, err := OpenFolder(filepath.Join(dir, c.path))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: error %v, want %q", c.files, err, c.want)
		}
	}
}

func TestOpenFolderHubName(t *testing.T) {
	if _, err := OpenFolder("organisation/model"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "goxl pull downloads it") {
		t.Errorf("error %v", err)
	}
}

func TestShards(t *testing.T) {
	var tensors []Tensor
	for i := range 5 {
		tensors = append(tensors, NewTensor(fmt.Sprintf("t%d", i), kernels.F16, []int{1}, []byte{byte(i), 1}))
	}
	for _, c := range []struct {
		variant string
		older   bool
	}{{"", false}, {"fp16", false}, {"fp16", true}} {
		dir := layout(t, map[string]string{indexFile: baseIndex})
		writeShards(t, filepath.Join(dir, "unet"), "diffusion_pytorch_model", c.variant, c.older, tensors, 3)
		f, err := OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		src, err := f.Component("unet", Variant{Name: c.variant})
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		whole := map[string]Tensor{}
		for _, tensor := range tensors {
			whole[tensor.Name] = tensor
		}
		if equal, err := Equal(src, FromMap(whole)); !equal || err != nil || len(src.Files()) != 3 {
			t.Errorf("%+v: equal %v, %d files, error %v", c, equal, len(src.Files()), err)
		}
		if dtype, _, n, err := src.Stored("t4"); dtype != "F16" || n != 2 || err != nil {
			t.Errorf("%+v: t4 stored as %s, %d bytes, error %v", c, dtype, n, err)
		}
		if _, _, _, err := src.Stored("t9"); err == nil {
			t.Errorf("%+v: t9 is stored", c)
		}
		if err := errors.Join(src.Release(), src.Close()); err != nil {
			t.Error(err)
		}
		if _, _, _, err := src.Tensor("t0"); !errors.Is(err, ErrClosed) {
			t.Errorf("%+v: after Close: error %v", c, err)
		}
	}
}

func TestShardIndexRefuses(t *testing.T) {
	good := map[string]string{"s1.safetensors": "weights:a", "s2.safetensors": "weights:b", "x.bin": ""}
	for _, c := range []struct{ index, want string }{
		{`{"weight_map":{"a":"s1.safetensors","b":"s3.safetensors"}}`, `shard "s3.safetensors" is missing`},
		{`{"weight_map":{"a":"../s1.safetensors"}}`, `"../s1.safetensors"; allowed: the name of a .safetensors or .bin file in the same folder`},
		{`{"weight_map":{"a":"/s1.safetensors"}}`, "in the same folder"},
		{`{"weight_map":{"a":"x\\s1.safetensors"}}`, "in the same folder"},
		{`{"weight_map":{"a":"C:s1.safetensors"}}`, "in the same folder"},
		{`{"weight_map":{"a":"x.bin"}}`, "0 bytes are too short"},
		{`{"weight_map":{"a":"x.txt"}}`, "in the same folder"},
		{`{"weight_map":{"a":""}}`, "in the same folder"},
		{`{"weight_map":{"a":1}}`, "an object of at least one tensor name"},
		{`{"weight_map":{}}`, "at least one"},
		{`{"weight_map":null}`, "at least one"},
		{`{}`, `"weight_map": missing`},
		{`{"weight_map":{"a":"s1.safetensors","a":"s2.safetensors"}}`, "twice"},
		{`[]`, "not a JSON object"},
	} {
		files := maps.Clone(good)
		files["model.safetensors.index.json"] = c.index
		dir := layout(t, files)
		_, err := OpenComponent(filepath.Join(dir, "model.safetensors.index.json"))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want %q", c.index, err, c.want)
		}
	}
	dir := layout(t, map[string]string{"s1.safetensors": "cut", "i.json": `{"weight_map":{"a":"s1.safetensors"}}`})
	var fe *FileError
	if _, err := OpenComponent(filepath.Join(dir, "i.json")); !errors.As(err, &fe) || filepath.Base(fe.File) != "s1.safetensors" {
		t.Errorf("damaged shard: error %v", err)
	}
}
