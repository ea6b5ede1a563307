package cuda

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/goxl/goxl/kernels"
)

var (
	speed        = flag.Bool("cuda.speed", false, "TestSpeed: time the shapes that matter")
	speedReps    = flag.Int("cuda.reps", 0, "TestSpeed: how often an operation is in the graph that is timed; 0 is 20 ms of it, in which a card's clocks fall")
	speedFilter  = flag.String("cuda.speed.filter", "", "regular expression over TestSpeed's shapes")
	speedVariant = flag.String("cuda.variant", "", "TestSpeed: sm_80 or sm_90a; empty is the card's best")
	speedCarve   = flag.Bool("cuda.carve", true, "TestSpeed, TestModelSpeed: every kernel prefers shared memory to cache")
	speedOnly    = flag.Bool("cuda.only", false, "TestModelSpeed: not also unfused")
	speedSide    = flag.Int("cuda.side", 1024, "TestModelSpeed: pixels of a side of the image whose step is timed")
	everyTile    = flag.String("cuda.tiles", "", "TestSpeed: every GEMM tile by itself whose kernel matches this regular expression; TestModelSpeed: no TMA tiles but those")
)

// plan puts an identity in front of each activation and one behind the operation, so that the operation reads and
// writes 16-bit temporaries.
func (c speedCase) plan() (p *kernels.Plan, inputs []kernels.Value, err error) {
	p = &kernels.Plan{}
	put := func(name string, r kernels.Role, shape []int) kernels.Value {
		p.Tensors = append(p.Tensors, kernels.Tensor{Name: name, Role: r, DType: kernels.F32, Shape: shape})
		return kernels.Value(len(p.Tensors) - 1)
	}
	n := kernels.Node{Spec: c.spec, Path: c.name}
	weight := func(k int) bool {
		for _, w := range c.weights {
			if w == k {
				return true
			}
		}
		return false
	}
	var copied kernels.Value
	for k, shape := range c.in {
		if weight(k) {
			n.In = append(n.In, put(fmt.Sprint("weight", k), kernels.Weight, shape))
			continue
		}
		if !c.projected || k == 0 {
			in, t := put("in", kernels.Step, shape), put("copy", kernels.Temp, shape)
			inputs, copied = append(inputs, in), t
			p.Nodes = append(p.Nodes, kernels.Node{Spec: kernels.Activate{}, Path: "in front", In: []kernels.Value{in}, Out: []kernels.Value{t}})
		}
		t := copied
		if c.projected {
			size := shape[len(shape)-1]
			w := put(fmt.Sprint("weight", k), kernels.Weight, []int{size, size})
			t = put("projected", kernels.Temp, shape)
			p.Nodes = append(p.Nodes, kernels.Node{Spec: kernels.Linear{}, Path: "projection", In: []kernels.Value{copied, w}, Out: []kernels.Value{t}})
		}
		n.In = append(n.In, t)
	}
	out, err := c.spec.Infer(p.Inputs(n))
	if err != nil {
		return nil, nil, err
	}
	n.Out = []kernels.Value{put("out", kernels.Temp, out[0].Shape)}
	p.Nodes = append(p.Nodes, n, kernels.Node{Spec: kernels.Activate{}, Path: "behind", In: n.Out, Out: []kernels.Value{put("result", kernels.Result, out[0].Shape)}})
	return p, inputs, nil
}

// time runs a graph of the node's launches, reps times over, between two events, and returns the time of one, the least
// of five: as in a model, nothing waits for the host.
func (p *program) time(node, reps int) (time.Duration, error) {
	d := p.device
	graph, err := d.recorder.Capture(func() error {
		for range reps {
			for _, l := range p.recorded.launches[node] {
				if err := d.recorder.Launch(l); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	defer graph.Close()
	exec, err := graph.Instantiate()
	if err != nil {
		return 0, err
	}
	defer exec.Close()
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
	var times []time.Duration
	for range 6 {
		if err := d.stream.Record(start); err != nil {
			return 0, err
		}
		if err := exec.Launch(d.stream); err != nil {
			return 0, err
		}
		if err := d.stream.Record(end); err != nil {
			return 0, err
		}
		if err := end.Synchronize(); err != nil {
			return 0, err
		}
		t, err := end.Since(start)
		if err != nil {
			return 0, err
		}
		times = append(times, t/time.Duration(reps))
	}
	return min(times[1], times[2], times[3], times[4], times[5]), nil
}

// TestSpeed prints the time of the shapes that matter, each node by itself between 16-bit temporaries that hold data
// like a model's.
func TestSpeed(t *testing.T) {
	if !*speed {
		t.Skip("-cuda.speed times the kernels")
	}
	d := card(t, Options{Variant: *speedVariant})
	for _, l := range d.libraries {
		l.carve = l.carve && *speedCarve
	}
	all := d.tiles
	choices := [][]tile{all}
	if *everyTile != "" {
		choices = nil
		names := regexp.MustCompile(*everyTile)
		for _, one := range all {
			if names.MatchString(one.kernel()) {
				choices = append(choices, alone(one))
			}
		}
	}
	peak, err := d.PeakFLOPS(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s, %s, peak measured %.0f TFLOP/s\n", d.Info().Detail, d.Info().Variant, peak/1e12)
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "shape\tkernel\tblocks\tms\tTFLOP/s\tGB/s\tpeer ms\tpeer/ours")
	pattern := regexp.MustCompile(*speedFilter)
	for _, c := range speedCases() {
		if !pattern.MatchString(c.name) {
			continue
		}
		for _, d.tiles = range choices {
			if err := c.measure(d, table); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			switch c.spec.(type) {
			case kernels.Linear, kernels.Conv2d:
				continue
			case kernels.Attention:
				if *everyTile != "" && len(d.flash) > 0 {
					for _, f := range flashTiles[1:] {
						d.flash = []flashTile{f}
						if err := c.measure(d, table); err != nil {
							t.Errorf("%s: %v", c.name, err)
						}
					}
					d.flash = flashTiles
				}
			}
			break // other kernels have no tiles
		}
		table.Flush()
	}
	d.tiles = all
}

func (c speedCase) measure(d *Device, table *tabwriter.Writer) error {
	plan, inputs, err := c.plan()
	if err != nil {
		return err
	}
	w, err := d.NewWeights(random{sourceOf(plan)})
	if err != nil {
		return err
	}
	defer w.Close()
	compiled, err := d.Compile(plan, w, kernels.Options{})
	if err != nil {
		return err
	}
	defer compiled.Close()
	p := compiled.(*program)
	node := slices.IndexFunc(p.plan.Nodes, func(n kernels.Node) bool { return n.Path == c.name })
	moved := int64(2 * plan.Tensors[len(plan.Tensors)-1].Len())
	for k, v := range inputs {
		moved += 2 * int64(plan.Tensors[v].Len())
		if err := p.Write(v, floatBytes(noise(plan.Tensors[v].Len(), uint64(k)))); err != nil {
			return err
		}
	}
	if err := p.Run(context.Background()); err != nil {
		return err
	}
	if err := p.device.stream.Synchronize(); err != nil {
		return err
	}
	first, err := p.time(node, 3)
	if err != nil {
		return err
	}
	reps := *speedReps
	if reps == 0 {
		reps = max(3, min(1000, int(20*time.Millisecond/max(first, time.Microsecond))))
	}
	took, err := p.time(node, reps)
	if err != nil {
		return err
	}
	ms := took.Seconds() * 1e3
	var shapes []kernels.Tensor
	for _, shape := range c.in {
		shapes = append(shapes, kernels.Tensor{DType: kernels.F32, Shape: shape})
	}
	flops := float64(c.spec.FLOPs(shapes))
	l := p.nodes[node].launches[len(p.nodes[node].launches)-1]
	peer, ratio := "", ""
	if c.peer > 0 {
		peer, ratio = fmt.Sprintf("%.3f", c.peer), fmt.Sprintf("%.2f", c.peer/ms)
	}
	fmt.Fprintf(table, "%s\t%s\t%d\t%.4f\t%.0f\t%.0f\t%s\t%s\n", c.name, l.kernel, l.grid.X*l.grid.Y*l.grid.Z, ms,
		flops/took.Seconds()/1e12, float64(moved)/took.Seconds()/1e9, peer, ratio)
	return nil
}

// random is a source of noise, scaled so that unit inputs give unit outputs.
type random struct{ zeros }

func (r random) Tensor(name string) (kernels.DType, []int, []byte, error) {
	t := r.zeros[name]
	x := noise(t.Len(), uint64(len(name)))
	scale := float32(1 / math.Sqrt(float64(t.Len()/t.Shape[0])))
	for i := range x {
		x[i] *= scale
	}
	return t.DType, t.Shape, floatBytes(x), nil
}

// noise is uniform with variance 1: tensor cores draw more power on it, and so run slower, than on anything regular.
func noise(n int, seed uint64) []float32 {
	x := make([]float32, n)
	state := seed*0x9e3779b97f4a7c15 + 1
	for i := range x {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		x[i] = float32(math.Sqrt(3)) * (float32(int64(state>>40)-1<<23) * 0x1p-23)
	}
	return x
}
