package cuda

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// parameterSize is the size of the parameters that the engine passes to each kernel.
var parameterSize = map[string]uintptr{
	"skinny":             unsafe.Sizeof(gemmParams{}),
	"gemm_pingpong":      unsafe.Sizeof(gemmTMAParams{}),
	"gemm_cooperative":   unsafe.Sizeof(gemmTMAParams{}),
	"gemm_wgmma":         unsafe.Sizeof(gemmParams{}),
	"gemm":               unsafe.Sizeof(gemmParams{}),
	"flash_wgmma":        unsafe.Sizeof(flashParams{}),
	"flash":              unsafe.Sizeof(attentionParams{}),
	"conv_few":           unsafe.Sizeof(convFewParams{}),
	"attention_plain":    unsafe.Sizeof(attentionParams{}),
	"softmax":            unsafe.Sizeof(softmaxParams{}),
	"transpose":          unsafe.Sizeof(transposeParams{}),
	"group_statistics":   unsafe.Sizeof(groupNormParams{}),
	"group_apply":        unsafe.Sizeof(groupNormParams{}),
	"group_sums":         unsafe.Sizeof(groupNormParams{}),
	"group_norm":         unsafe.Sizeof(groupNormParams{}),
	"group_reduce_stats": unsafe.Sizeof(groupNormParams{}),
	"group_scale":        unsafe.Sizeof(groupNormParams{}),
	"fold_layer_norm":    unsafe.Sizeof(foldParams{}),
	"project":            unsafe.Sizeof(projectParams{}),
	"layer_norm":         unsafe.Sizeof(layerNormParams{}),
	"activate":           unsafe.Sizeof(mapParams{}),
	"prelu":              unsafe.Sizeof(mapParams{}),
	"add":                unsafe.Sizeof(mapParams{}),
	"add_masked":         unsafe.Sizeof(maskedParams{}),
	"concat":             unsafe.Sizeof(mapParams{}),
	"pad":                unsafe.Sizeof(mapParams{}),
	"resize":             unsafe.Sizeof(resizeParams{}),
	"to_pixels":          unsafe.Sizeof(mapParams{}),
	"from_pixels":        unsafe.Sizeof(mapParams{}),
	"embedding":          unsafe.Sizeof(rowsParams{}),
	"gather":             unsafe.Sizeof(rowsParams{}),
	"finite":             unsafe.Sizeof(finiteParams{}),
	"sinusoid":           unsafe.Sizeof(sinusoidParams{}),
	"scale_repeat":       unsafe.Sizeof(scaleParams{}),
	"guidance":           unsafe.Sizeof(guidanceParams{}),
	"solver":             unsafe.Sizeof(solverParams{}),
	"peak":               unsafe.Sizeof(peakParams{}),
	"peak_wgmma":         unsafe.Sizeof(peakParams{}),
	"fault":              unsafe.Sizeof(faultParams{}),
	"merge":              unsafe.Sizeof(mergeParams{}),
	"pack":               unsafe.Sizeof(packParams{}),
}

// kernelFamily is a kernel's name without tile size and storage type.
func kernelFamily(name string) string {
	return regexp.MustCompile(`(_\d+(x\d+)*)?(_fp32)?$`).ReplaceAllString(name, "")
}

// TestParameters compares the parameter structs of the engine with those in the PTX.
func TestParameters(t *testing.T) {
	entry := regexp.MustCompile(`\.entry (\w+)\(\s*\.param \.align \d+ \.b8 \w+\[(\d+)\]\s*\)`)
	m, err := readManifest()
	if err != nil {
		t.Fatal(err)
	}
	for path, module := range m.Modules {
		text, err := readModule(path)
		if err != nil {
			t.Fatal(err)
		}
		found := entry.FindAllStringSubmatch(string(text), -1)
		if len(found) != len(module.Kernels) {
			t.Errorf("%s: %d entries with one struct as parameter, the manifest lists %d kernels", path, len(found), len(module.Kernels))
		}
		for _, f := range found {
			want, ok := parameterSize[kernelFamily(f[1])]
			if !ok {
				t.Errorf("%s: kernel %s is unknown to the engine", path, f[1])
				continue
			}
			if got, _ := strconv.Atoi(f[2]); uintptr(got) != want {
				t.Errorf("%s: kernel %s takes %d bytes, the engine passes %d", path, f[1], got, want)
			}
		}
		if strings.Contains(path, ".bf16.") != strings.Contains(string(text), "bf16") && !strings.Contains(path, "/fault.") { // which computes nothing
			t.Errorf("%s does not compute in the type of its name", path)
		}
	}
}
