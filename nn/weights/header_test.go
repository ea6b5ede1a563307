package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestHeaderWhiteSpace puts the white space of JSON, and bytes that only look like it, around and into a header.
func TestHeaderWhiteSpace(t *testing.T) {
	spaced := strings.NewReplacer("{", " {\n", ":", "\t:\r\n", ",", " ,\t", "}", "\n}").Replace(oneTensor)
	for _, space := range []string{"", " ", "\t", "\n", "\r", "\r\n\t  \n"} {
		for _, header := range []string{space + oneTensor, oneTensor + space, space + oneTensor + space, space + spaced + space} {
			f, err := Parse("m", raw(header, 4))
			if err != nil {
				t.Errorf("%q: %v", header, err)
				continue
			}
			if _, _, data, err := f.Tensor("a"); err != nil || !bytes.Equal(data, []byte{1, 2, 3, 4}) {
				t.Errorf("%q: data %v, error %v", header, data, err)
			}
		}
	}
	for _, other := range []string{"\x00", "\v", "\f", "\ufeff", "\u00a0", "x"} {
		for _, header := range []string{other + oneTensor, oneTensor + other, " " + other + oneTensor, oneTensor + " " + other} {
			if _, err := Parse("m", raw(header, 4)); err == nil {
				t.Errorf("%q is taken", header)
			}
		}
	}
	if _, err := Parse("m", raw(strings.Repeat(" ", 9), 0)); err == nil {
		t.Error("a header of white space alone is taken")
	}
}

// TestUnusedElementTypes reads a tensor that lies beside one of every type that no model takes.
func TestUnusedElementTypes(t *testing.T) {
	for name, bits := range map[string]int{
		"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
		"F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "C64": 64, "I64": 64, "U64": 64,
	} {
		n := 8 * bits / 8
		file := raw(fmt.Sprintf(`{"x":{"dtype":%q,"shape":[2,4],"data_offsets":[0,%d]},"a":{"dtype":"BF16","shape":[1],"data_offsets":[%[2]d,%d]}}`, name, n, n+2), n+2)
		f, err := Parse("m", file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if dtype, _, data, err := f.Tensor("a"); err != nil || dtype != kernels.BF16 || !bytes.Equal(data, []byte{byte(n + 1), byte(n + 2)}) {
			t.Errorf("%s: beside it %v %v, error %v", name, dtype, data, err)
		}
		if stored, _, size, err := f.Stored("x"); err != nil || stored != name || size != int64(n) {
			t.Errorf("%s is stored as %s, %d bytes, error %v", name, stored, size, err)
		}
		var de *DTypeError
		if _, _, _, err := f.Tensor("x"); !errors.As(err, &de) || de.DType != name {
			t.Errorf("%s: asked for: error %v", name, err)
		}
		if _, err := Parse("m", file[:len(file)-1]); err == nil {
			t.Errorf("%s: a file that is cut is taken", name)
		}
	}
	for _, c := range []struct{ dtype, shape, want string }{
		{"F4", "[3]", "whole bytes"}, {"F6_E2M3", "[2]", "whole bytes"}, {"C128", "[1]", `unknown element type "C128"`}, {"f16", "[1]", `unknown element type "f16"`},
	} {
		_, err := Parse("m", raw(fmt.Sprintf(`{"a":{"dtype":%q,"shape":%s,"data_offsets":[0,2]}}`, c.dtype, c.shape), 2))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: error %v, want %q", c.dtype, c.shape, err, c.want)
		}
	}
}

// TestFloat64 reads float64 as the float32 that are nearest, at every offset that a file may hold it at.
func TestFloat64(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), 1, -1.5, 0.1, math.Pi, 1 + 0x1p-24, 1 + 0x1p-24 + 0x1p-50, 1 + 3*0x1p-24, 16777217, 16777219,
		math.MaxFloat32, math.MaxFloat32 * (1 + 0x1p-26), 3.5e38, -1e300, math.Inf(1), math.Inf(-1), 1e-40, 0x1p-150, 0x1p-150 * (1 + 0x1p-40), 1e-300}
	want := []float32{0, float32(math.Copysign(0, -1)), 1, -1.5, 0.1, math.Pi, 1, 1 + 0x1p-23, 1 + 0x1p-22, 16777216, 16777220,
		math.MaxFloat32, math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.Inf(1)), float32(math.Inf(-1)), 1e-40, 0, 0x1p-149, 0}
	for pad := range 8 {
		header := fmt.Sprintf(`{"a":{"dtype":"F64","shape":[%d],"data_offsets":[0,%d]}}`, len(values), 8*len(values)) + strings.Repeat(" ", pad)
		file := raw(header, 0)
		for _, v := range values {
			file = binary.LittleEndian.AppendUint64(file, math.Float64bits(v))
		}
		f, err := Parse("m", file)
		if err != nil {
			t.Fatal(err)
		}
		if dtype, shape, err := f.Describe("a"); err != nil || dtype != kernels.F32 || shape[0] != len(values) {
			t.Errorf("described as %v %v, error %v", dtype, shape, err)
		}
		if stored, _, n, err := f.Stored("a"); err != nil || stored != "F64" || n != int64(8*len(values)) {
			t.Errorf("stored as %s, %d bytes, error %v", stored, n, err)
		}
		var all [4][]byte
		var wg sync.WaitGroup
		for i := range all {
			wg.Go(func() {
				dtype, _, data, err := f.Tensor("a")
				if err != nil || dtype != kernels.F32 || len(data) != 4*len(values) {
					t.Errorf("%v of %d bytes, error %v", dtype, len(data), err)
					return
				}
				all[i] = data
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
		for i, w := range want {
			if got := binary.LittleEndian.Uint32(all[0][4*i:]); got != math.Float32bits(w) {
				t.Errorf("%v is read as %v, want %v", values[i], math.Float32frombits(got), w)
			}
		}
		for i := range all {
			if &all[i][0] != &all[0][0] {
				t.Error("converted more than once")
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, _, _, err := f.Tensor("a"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: error %v", err)
		}
	}
}
