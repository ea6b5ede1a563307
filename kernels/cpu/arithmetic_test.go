package cpu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestAddProduct compares products with their sums in float64: in float32 a sum may be off by a rounding of each term,
// and a row may not depend on the rows beside it. What is behind the product stays.
func TestAddProduct(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		a := d.Arithmetic()
		for _, c := range []struct{ rows, rank, cols int }{{1, 1, 1}, {12, 16, 64}, {13, 3, 33}, {5, 700, 40}, {30, 1300, 70}, {4, 4, 2900}, {60, 0, 7}} {
			up, down := normals(c.rows*c.rank), normals(c.rank*c.cols)
			for _, scale := range []float32{1, -0.7} {
				dst := normals(c.rows*c.cols + 3)
				before := slices.Clone(dst)
				a.AddProduct(dst, up, down, c.rank, scale)
				for i, x := range dst {
					want, bound := float64(before[i]), 0.0
					if i < c.rows*c.cols {
						bound = math.Abs(want)
						for k := range c.rank {
							term := float64(scale) * float64(up[i/c.cols*c.rank+k]) * float64(down[k*c.cols+i%c.cols])
							want, bound = want+term, bound+math.Abs(term)
						}
						bound *= float64(c.rank+4) * 0x1p-24
					}
					if math.Abs(float64(x)-want) > bound {
						t.Fatalf("%v, scale %v: number %d is %v, want %v to %v", c, scale, i, x, want, bound)
					}
				}
				if c.rank == 0 {
					continue
				}
				last := slices.Clone(before[(c.rows-1)*c.cols:][:c.cols])
				a.AddProduct(last, up[(c.rows-1)*c.rank:], down, c.rank, scale)
				if !slices.Equal(last, dst[(c.rows-1)*c.cols:][:c.cols]) {
					t.Errorf("%v, scale %v: the last row alone has other numbers", c, scale)
				}
			}
		}
	})
}

// TestAddProductConcurrently wants calls at the same time not to disturb each other.
func TestAddProductConcurrently(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		const rows, rank, cols = 20, 30, 100
		want := make([]float32, rows*cols)
		d.Arithmetic().AddProduct(want, normals(rows*rank), normals(rank*cols), rank, 0.5)
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for range 20 {
					got := make([]float32, rows*cols)
					d.Arithmetic().AddProduct(got, normals(rows*rank), normals(rank*cols), rank, 0.5)
					if !slices.Equal(got, want) {
						t.Error("another product")
					}
				}
			})
		}
		wait.Wait()
	})
}

// TestWidenAndRound goes to bytes of any alignment and back, with rests of every length.
func TestWidenAndRound(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		a := d.Arithmetic()
		for _, dtype := range []kernels.DType{kernels.F32, kernels.F16, kernels.BF16} {
			for n := range 70 {
				x := normals(n)
				want := []byte{9}
				for _, v := range x {
					switch dtype {
					case kernels.F16:
						want = binary.LittleEndian.AppendUint16(want, kernels.ToF16(v))
					case kernels.BF16:
						want = binary.LittleEndian.AppendUint16(want, kernels.ToBF16(v))
					default:
						want = binary.LittleEndian.AppendUint32(want, math.Float32bits(v))
					}
				}
				want = append(want, 9)
				got := bytes.Repeat([]byte{9}, len(want))
				a.Round(got[1:], dtype, x)
				if !bytes.Equal(got, want) {
					t.Fatalf("%v: %d numbers are rounded to % x, want % x", dtype, n, got, want)
				}
				wide := make([]float32, n)
				a.Widen(wide, dtype, got[1:])
				for i := range wide {
					if w := (kernels.Factor{DType: dtype, Data: want[1:]}).At(i); wide[i] != w {
						t.Fatalf("%v: number %d of %d is %v, want %v", dtype, i, n, wide[i], w)
					}
				}
			}
		}
	})
}

// computed keeps what it computes by.
type computed struct {
	*memorySource
	by *kernels.Arithmetic
}

func (c computed) With(a kernels.Arithmetic) kernels.Source {
	*c.by = a
	return c.memorySource
}

// TestUpdateLends wants the source of an update that computes to have the device's arithmetic.
func TestUpdateLends(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) {
		s := layers(t)
		w, err := d.NewWeights(&s.source)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		var by kernels.Arithmetic
		u := &kernels.Update{Source: computed{&s.source, &by}, Whole: []string{"out.weight"}}
		if err := w.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if by != d.Arithmetic() {
			t.Errorf("the source computes by %v", by)
		}
		if _, ok := u.Source.(computed); !ok {
			t.Error("the caller's update changes")
		}
	})
}

// BenchmarkAddProduct adds products as adapters have them to spans of rows, on one goroutine.
func BenchmarkAddProduct(b *testing.B) {
	for _, c := range []struct{ rows, rank, cols int }{{60, 16, 1280}, {32, 32, 1280}, {4, 4, 1280}, {60, 1280, 16}} {
		b.Run(fmt.Sprint(c), func(b *testing.B) {
			a := newTestDevice(b, Options{}).Arithmetic()
			dst, up, down := normals(c.rows*c.cols), normals(c.rows*c.rank), normals(c.rank*c.cols)
			for b.Loop() {
				a.AddProduct(dst, up, down, c.rank, 1)
			}
			b.ReportMetric(2*float64(c.rows)*float64(c.rank)*float64(c.cols)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
