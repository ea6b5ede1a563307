package cuda

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
)

// repeated is a source with the tensors of zeros and the same noise in each.
type repeated struct {
	zeros
	noise []byte
}

func (r repeated) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := r.zeros.Tensor(name)
	return dtype, shape, r.noise[:len(data)], err
}

// randomWeights is such a source for the weights of a plan, small enough for results to stay finite.
func randomWeights(plan *kernels.Plan) repeated {
	some := noise(len(nothing)/2, 7)
	r := repeated{zeros{}, make([]byte, 0, len(nothing))}
	for _, f := range some {
		h := math.Float32bits(f * 0.02 * 0x1p-112) // exponents of float16
		r.noise = binary.LittleEndian.AppendUint16(r.noise, uint16(h>>16&0x8000|h>>13&0x7fff))
	}
	for _, x := range plan.Tensors {
		if x.Role == kernels.Weight {
			r.zeros[x.Name] = x
		}
	}
	return r
}

// TestModelSpeed times whole runs of the full-size models with random weights, and each kind of node by itself.
func TestModelSpeed(t *testing.T) {
	if !*speed {
		t.Skip("-cuda.speed times the models")
	}
	d := card(t, Options{Variant: *speedVariant})
	for _, l := range d.libraries {
		l.carve = l.carve && *speedCarve
	}
	if *everyTile != "" {
		names := regexp.MustCompile(*everyTile)
		d.tiles = slices.DeleteFunc(slices.Clone(d.tiles), func(t tile) bool { return t.tma && !names.MatchString(t.kernel()) })
	}
	for _, c := range []struct {
		name string
		plan modelPlan
	}{{"step", stepOf(t, d, "base", 1, *speedSide, *speedSide)}, {"decode", decode(t, d)}} {
		w, err := d.NewWeights(randomWeights(c.plan.plan))
		if err != nil {
			t.Fatal(err)
		}
		for _, d.unfused = range []bool{false, true} {
			if d.unfused && *speedOnly {
				break
			}
			compiled, err := d.Compile(c.plan.plan, w, kernels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := compiled.(*program)
			took, err := p.timeRuns(10)
			if err != nil {
				t.Fatal(err)
			}
			each, once := p.count()
			fmt.Printf("%s: %.3f ms, unfused: %t, %d launches a run, %d a request, arena %d MB\n",
				c.name, took.Seconds()*1e3, d.unfused, total(each), total(once), p.need>>20)
			if err := p.timeKinds(); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		d.unfused = false
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writeNoise writes noise to all inputs, the same each time.
func (p *program) writeNoise() error {
	for v, x := range p.plan.Tensors {
		if x.Role == kernels.Request || x.Role == kernels.Step || x.Role == kernels.State {
			if err := p.Write(kernels.Value(v), floatBytes(noise(x.Len(), uint64(v)))); err != nil {
				return err
			}
		}
	}
	return nil
}

// timeRuns is the mean of n runs on noise, queued without waiting in between.
func (p *program) timeRuns(n int) (time.Duration, error) {
	if err := p.writeNoise(); err != nil {
		return 0, err
	}
	d := p.device
	start, err := d.context.NewEvent(true)
	if err != nil {
		return 0, err
	}
	defer start.Close()
	end, err := d.context.NewEvent(true)
	if err != nil {
		return 0, err
	}
	defer end.Close()
	for i := range n + 2 {
		if i == 2 {
			if err := d.stream.Record(start); err != nil {
				return 0, err
			}
		}
		if err := p.Run(context.Background()); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(d.stream.Record(end), end.Synchronize()); err != nil {
		return 0, err
	}
	took, err := end.Since(start)
	return took / time.Duration(n), err
}

// timeKinds prints the time of each kind of node by itself, and how many of them a run has.
func (p *program) timeKinds() error {
	type kind struct {
		name  string
		node  int
		count int
		flops int64
		took  time.Duration
	}
	var kinds []*kind
	byName := map[string]*kind{}
	for i, n := range p.nodes {
		if n.hoisted {
			continue
		}
		node := p.plan.Nodes[i]
		name := kindOf(node.Spec)
		for _, v := range node.In {
			if x := p.plan.Tensors[v]; len(x.Shape) > 1 {
				name += fmt.Sprint(" ", x.Shape)
			}
		}
		if len(name) > 100 {
			name = name[:100]
		}
		for _, l := range n.launches {
			name += " " + l.kernel
		}
		k := byName[name]
		if k == nil {
			k = &kind{name: name, node: i, flops: node.Spec.FLOPs(p.plan.Inputs(node))}
			byName[name] = k
			kinds = append(kinds, k)
		}
		k.count++
	}
	var sum time.Duration
	for _, k := range kinds {
		var err error
		if k.took, err = p.time(k.node, 20); err != nil {
			return err
		}
		sum += k.took * time.Duration(k.count)
	}
	slices.SortFunc(kinds, func(a, b *kind) int { return cmp.Compare(b.took*time.Duration(b.count), a.took*time.Duration(a.count)) })
	fmt.Printf("sum of all nodes by themselves: %.3f ms\n   all ms  number  one ms  TFLOP/s\n", sum.Seconds()*1e3)
	for _, k := range kinds {
		fmt.Printf("%9.3f %7d %7.4f %8.0f %s\n", k.took.Seconds()*1e3*float64(k.count), k.count, k.took.Seconds()*1e3, float64(k.flops)/k.took.Seconds()/1e12, k.name)
	}
	return nil
}
