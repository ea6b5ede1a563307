package cases

import (
	"hash/fnv"
	"math"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// Fill says what an input holds: Mean + Scale·u with u uniform of variance 1, or the given values, repeated as often as needed.
type Fill struct {
	Mean, Scale float32
	Values      []float32
	IDs         []int32 // for I32 and, where they are bytes, U8
}

// Case is one operation with its inputs.
type Case struct {
	Name string // unique: family/what, as -run and the filters of this package match it
	Spec kernels.Spec
	In   []kernels.Tensor
	Fill []Fill // one for each of In
	// Into names for each output the State of In that it overwrites; nil if outputs are Results.
	Into []int
	// Big marks shapes of the real model, judged at a few hundred elements and timed.
	Big bool
	// Wide marks values outside the range of float16.
	Wide bool
	// Slow marks a real shape that is timed but checked only by a thorough run: a part of it is a case of its own.
	Slow bool
	// Fails marks a run that must end in an error.
	Fails bool
}

// InputBytes is the size of all inputs, dense, in the types that they have.
func (c Case) InputBytes() int64 {
	var n int64
	for _, t := range c.In {
		n += t.Bytes()
	}
	return n
}

// operand is an input with its content.
type operand struct {
	kernels.Tensor
	Fill
}

// with appends an input that is there, and returns the case for chaining.
func (c Case) with(there bool, o operand) Case {
	if there {
		c.In = append(slices.Clip(c.In), o.Tensor)
		c.Fill = append(slices.Clip(c.Fill), o.Fill)
	}
	return c
}

// x is an activation of unit scale. Small ones are States, so that a check can see that the device left them alone.
func x(name string, shape ...int) operand {
	return operand{kernels.Tensor{Name: name, Role: kernels.State, DType: kernels.F32, Shape: shape}, Fill{Scale: 1}}
}

// weight is a matrix or a stack of filters, scaled so that unit inputs give unit outputs.
func weight(dtype kernels.DType, shape ...int) operand {
	fanIn := kernels.Elements(shape[1:])
	return operand{kernels.Tensor{Name: "weight", Role: kernels.Weight, DType: dtype, Shape: shape},
		Fill{Scale: float32(1 / math.Sqrt(float64(fanIn)))}}
}

// bias is a vector of small numbers, gain one of numbers near 1.
func bias(dtype kernels.DType, n int) operand {
	return operand{kernels.Tensor{Name: "bias", Role: kernels.Weight, DType: dtype, Shape: []int{n}}, Fill{Scale: 0.3}}
}

func gain(dtype kernels.DType, n int) operand {
	return operand{kernels.Tensor{Name: "gain", Role: kernels.Weight, DType: dtype, Shape: []int{n}}, Fill{Mean: 1, Scale: 0.3}}
}

// numbers are scalars that the caller sets before each step.
func numbers(name string, v ...float32) operand {
	return operand{kernels.Tensor{Name: name, Role: kernels.Step, DType: kernels.F32, Shape: []int{len(v)}}, Fill{Values: v}}
}

// ids are token ids or rows.
func ids(name string, shape []int, v ...int32) operand {
	return operand{kernels.Tensor{Name: name, Role: kernels.Request, DType: kernels.I32, Shape: shape}, Fill{IDs: v}}
}

// pixels are an image's bytes, every one of them somewhere.
func pixels(name string, shape ...int) operand {
	v := make([]int32, 257)
	for i := range v {
		v[i] = int32(i * 101 % 256)
	}
	return operand{kernels.Tensor{Name: name, Role: kernels.Step, DType: kernels.U8, Shape: shape}, Fill{IDs: v}}
}

// big turns a case into one at a real shape: its activations are Steps, which a device keeps no second copy of.
func big(c Case) Case {
	c.Big = true
	c.In = slices.Clone(c.In)
	for i := range c.In {
		if c.In[i].Role == kernels.State {
			c.In[i].Role = kernels.Step
		}
	}
	return c
}

// Operands returns the content of every input: bytes as Write and a Source take them, tensors as ref takes them. Activations
// are representable in the precision. The values depend on the case's name and the input's place alone.
func (c Case) Operands(precision kernels.DType) ([][]byte, []ref.Tensor) {
	data := make([][]byte, len(c.In))
	tensors := make([]ref.Tensor, len(c.In))
	for k, t := range c.In {
		tensors[k].Shape = t.Shape
		fill := c.Fill[k]
		if t.DType == kernels.I32 {
			v := make([]int32, t.Len())
			for i := range v {
				v[i] = fill.IDs[i%len(fill.IDs)]
			}
			tensors[k].I, data[k] = v, Bytes(v)
			continue
		}
		if t.DType == kernels.U8 {
			v := make([]uint8, t.Len())
			for i := range v {
				v[i] = uint8(fill.IDs[i%len(fill.IDs)])
			}
			tensors[k].B, data[k] = v, v
			continue
		}
		h := fnv.New64a()
		h.Write([]byte(c.Name))
		v := make([]float32, t.Len())
		fill.floats(v, h.Sum64()+uint64(k)*0xd1342543de82ef95)
		tensors[k].F = v
		switch {
		case t.DType != kernels.F32:
			data[k] = Round(v, t.DType)
		case t.Role != kernels.Weight && precision != kernels.F32:
			Round(v, precision)
			data[k] = Bytes(v)
		default:
			data[k] = Bytes(v)
		}
	}
	return data, tensors
}

// floats fills v, the same on any number of cores.
func (f Fill) floats(v []float32, seed uint64) {
	if f.Values != nil {
		for i := range v {
			v[i] = f.Values[i%len(f.Values)]
		}
		return
	}
	step := f.Scale * float32(math.Sqrt(3)) * 0x1p-23
	parallel(len(v), func(from, to int) {
		for i := from; i < to; i++ {
			z := seed + uint64(i)*0x9e3779b97f4a7c15 // splitmix64
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			z ^= z >> 31
			v[i] = f.Mean + step*float32(int64(z>>40)-1<<23)
		}
	})
}

// Round rounds v in place to a 16-bit type and returns the rounded values in that type.
func Round(v []float32, dtype kernels.DType) []byte {
	to, from := kernels.ToF16, kernels.FromF16
	if dtype == kernels.BF16 {
		to, from = kernels.ToBF16, kernels.FromBF16
	}
	h := make([]uint16, len(v))
	parallel(len(v), func(first, last int) {
		for i := first; i < last; i++ {
			h[i] = to(v[i])
			v[i] = from(h[i])
		}
	})
	return Bytes(h)
}

// Bytes is the memory of v, not a copy. The contract's byte order is little-endian, as is every machine that a device here runs on.
func Bytes[T float32 | int32 | uint16](v []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(v[0])))
}

// parallel splits 0…n among the cores where that is worth it.
func parallel(n int, do func(from, to int)) {
	parts := min(runtime.GOMAXPROCS(0), 1+n/(1<<16))
	var wg sync.WaitGroup
	for p := range parts {
		wg.Go(func() { do(n*p/parts, n*(p+1)/parts) })
	}
	wg.Wait()
}
