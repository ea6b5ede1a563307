package sdxl

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// fp32 and fp16 files of one model, as a folder or as one file, have one fingerprint; another one have those of which a
// part of the values differs, or that take a part from elsewhere.
func TestFingerprint(t *testing.T) {
	folder := t.TempDir()
	at := func(name string) string { return filepath.Join(folder, name) }
	make := func(name, model string, dtype kernels.DType) string {
		t.Helper()
		var err error
		if strings.HasSuffix(name, ".safetensors") {
			err = SynthesiseFile(t.Context(), model, dtype, at(name))
		} else {
			err = Synthesise(t.Context(), model, dtype, at(name))
		}
		if err != nil {
			t.Fatal(err)
		}
		return at(name)
	}
	of := func(path string, o Options) string {
		t.Helper()
		sum, err := Fingerprint(path, o)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	wide := make("wide", "tiny", kernels.F32)
	want := of(wide, Options{})
	if len(want) != 16 {
		t.Errorf("%q", want)
	}
	for name, path := range map[string]string{
		"fp16":        make("half", "tiny", kernels.F16),
		"one file":    make("wide.safetensors", "tiny", kernels.F32),
		"one of fp16": make("half.safetensors", "tiny", kernels.F16),
	} {
		if got := of(path, Options{Precision: kernels.F16}); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	seen := map[string]string{want: "the model itself"}
	differs := func(what, sum string) {
		t.Helper()
		if other, there := seen[sum]; there {
			t.Errorf("%s has the fingerprint of %s", what, other)
		}
		seen[sum] = what
	}
	for _, component := range []string{"unet", "vae", "text_encoder", "text_encoder_2"} {
		changed := make("changed-"+component, "tiny", kernels.F32)
		spoil(t, filepath.Join(changed, filepath.FromSlash(weightsFile(component))))
		differs("another "+component, of(changed, Options{}))
	}
	other := filepath.Join(at("changed-vae"), "vae")
	differs("-vae", of(wide, Options{VAE: other}))
	single := make("other.safetensors", "tiny", kernels.F32)
	spoil(t, single)
	if sum := of(wide, Options{UNet: single}); seen[sum] != "another unet" {
		t.Errorf("-unet has the fingerprint of %q", seen[sum])
	}
	differs("-taesd", of(wide, Options{TAESD: other}))
	link := at("link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if a, b := of(wide, Options{VAE: other}), of(wide, Options{VAE: link}); a != b {
		t.Errorf("by a link it is %s, want %s", b, a)
	}
	if got := of("synth:tiny", Options{}); got != "" {
		t.Errorf("%q", got)
	}
	if err := os.Remove(filepath.Join(at("half"), "vae", "diffusion_pytorch_model.safetensors")); err != nil {
		t.Fatal(err)
	}
	if sum, err := Fingerprint(at("half"), Options{}); err == nil {
		t.Errorf("%s of a model without weights", sum)
	}
}

// spoil changes every value of a file, as another training would.
func spoil(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	header := 8 + int(binary.LittleEndian.Uint64(data))
	for i := header; i+4 <= len(data); i += 4 {
		data[i+2] ^= 0x40 // of a float32's mantissa
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
