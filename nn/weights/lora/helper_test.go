package lora

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	unetmodel "github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

const root = "../../.."

// shapes are the tensors of a component of a synthetic model, nil if it has none.
func shapes(t testing.TB, model, component string) map[string][]int {
	t.Helper()
	file := filepath.Join(root, "models/sdxl/synthetic", model, component, "config.json")
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var module any
	if component == "unet" {
		config, err := unetmodel.ParseConfig(data, file)
		if err != nil {
			t.Fatal(err)
		}
		module = unetmodel.New(config)
	} else {
		config, err := clip.ParseConfig(data, file)
		if err != nil {
			t.Fatal(err)
		}
		module = clip.New(config)
	}
	return nn.Shapes(module)
}

// targets are the tensors of a synthetic model that adapters change.
func targets(t testing.TB, model string) Targets {
	t.Helper()
	all := Targets{}
	for _, component := range []string{unet, textEncoder, textEncoder2} {
		if s := shapes(t, model, component); s != nil {
			all[component] = s
		}
	}
	return all
}

// tensors are those of a file, by name.
type tensors map[string]value

// value is a tensor of float32, or of I64 or I16 if it has integers.
type value struct {
	shape []int
	x     []float32
}

// ramp is a tensor of different small numbers.
func ramp(shape ...int) value {
	v := value{shape, make([]float32, kernels.Elements(shape))}
	for i := range v.x {
		v.x[i] = float32(math.Sin(float64(i)*0.7+float64(len(shape)))) / 4
	}
	return v
}

// one is a single number.
func one(x float32) value { return value{[]int{}, []float32{x}} }

// open writes a file and opens it.
func open(t testing.TB, all tensors, metadata map[string]string) *File {
	t.Helper()
	var list []weights.Tensor
	for name, v := range all {
		data := make([]byte, 4*len(v.x))
		for i, x := range v.x {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(x))
		}
		list = append(list, weights.NewTensor(name, kernels.F32, v.shape, data))
	}
	path := filepath.Join(t.TempDir(), "lora.safetensors")
	if err := weights.Write(path, list, metadata); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
