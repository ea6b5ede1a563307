package sdxl

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestShortHash wants A1111's hashes of adapters: that of a file of testdata is what its addnet_hash_safetensors gives.
func TestShortHash(t *testing.T) {
	if got := shortHashOfFile("../../testdata/lora/loha.safetensors"); got != "5930752b5f12" {
		t.Errorf("the hash of loha is %s", got)
	}
	dir := t.TempDir()
	write := func(name string, metadata map[string]string) string {
		path := filepath.Join(dir, name)
		if err := weights.Write(path, []weights.Tensor{weights.NewTensor("a", kernels.F16, []int{2}, []byte{1, 2, 3, 4})}, metadata); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sum := func(data []byte) string {
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:])[:12]
	}
	behind := sum([]byte{1, 2, 3, 4})
	other := write("other.pt", nil)
	whole, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.safetensors")
	if err := os.WriteFile(cut, whole[:12], 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("plain.safetensors", nil):                                                         behind,
		write("edited.SafeTensors", map[string]string{"ss_tag_frequency": "{}"}):                behind,
		write("empty.safetensors", map[string]string{"sshs_model_hash": ""}):                    behind,
		write("trained.safetensors", map[string]string{"sshs_model_hash": "0123456789abcdef0"}): "0123456789ab",
		write("short.safetensors", map[string]string{"sshs_model_hash": "012"}):                 "012",
		other:                           sum(whole),
		cut:                             "",
		filepath.Join(dir, "not there"): "",
		dir:                             "",
	} {
		for range 2 { // the second time it is known
			if got := shortHashOfFile(path); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
}
