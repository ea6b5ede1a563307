package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestQuantisedFiles generates with a UNet of float8, of float8 with scales, and of the same numbers in float16: the
// latents are the same bytes.
func TestQuantisedFiles(t *testing.T) {
	folder := synthesised(t, "base")
	unet := filepath.Join(folder, "unet", "diffusion_pytorch_model.safetensors")
	src, err := weights.Open(unet)
	if err != nil {
		t.Fatal(err)
	}
	type stored struct {
		DType string `json:"dtype"`
		Shape []int  `json:"shape"`
		At    [2]int `json:"data_offsets"`
		data  []byte
	}
	half, eight := map[string]stored{}, map[string]stored{}
	scaled := map[string]stored{"scaled_fp8": {DType: "F8_E5M2", Shape: []int{0}}}
	for _, name := range src.Names() {
		_, shape, data, err := src.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(shape) < 2 {
			s := stored{DType: "F32", Shape: shape, data: bytes.Clone(data)}
			half[name], eight[name], scaled[name] = s, s, s
			continue
		}
		var upper, wide, doubled []byte // float8, the same in float16, and twice it in float8
		for ; len(data) > 0; data = data[4:] {
			v := kernels.FromF16(kernels.ToF16(math.Float32frombits(binary.LittleEndian.Uint32(data))) & 0xff00)
			upper = append(upper, byte(kernels.ToF16(v)>>8))
			wide = binary.LittleEndian.AppendUint16(wide, kernels.ToF16(v))
			doubled = append(doubled, byte(kernels.ToF16(2*v)>>8))
		}
		half[name] = stored{DType: "F16", Shape: shape, data: wide}
		eight[name] = stored{DType: "F8_E5M2", Shape: shape, data: upper}
		scaled[name] = stored{DType: "F8_E5M2", Shape: shape, data: doubled}
		scaled[strings.TrimSuffix(name, "weight")+"scale_weight"] = stored{DType: "F32", Shape: []int{}, data: []byte{0, 0, 0, 0x3f}}
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i, file := range []map[string]stored{half, eight, scaled} {
		var data []byte
		for name, s := range file {
			s.At = [2]int{len(data), len(data) + len(s.data)}
			data = append(data, s.data...)
			file[name] = s
		}
		header, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, unet, string(binary.LittleEndian.AppendUint64(nil, uint64(len(header))))+string(header)+string(data))
		latents := filepath.Join(t.TempDir(), "latents.safetensors")
		must(t, "generate", "-model", folder, "-prompt", "a lighthouse", "-steps", "2", "-seed", "1", "-device", "cpu", "-quiet",
			"-o", filepath.Join(t.TempDir(), "out.png"), "-save-latents", latents)
		got := read(t, latents)
		if want == nil {
			want = got
		} else if !bytes.Equal(got, want) {
			t.Errorf("file %d gives other latents than float16", i)
		}
	}
}
