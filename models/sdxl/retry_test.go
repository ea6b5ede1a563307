package sdxl

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn"
)

// narrow is a device that says it computes in fp16 or bf16 and looks for NaN by itself. It computes in float32, but sampling steps in the precisions of spoils give NaN
// from their third run on.
type narrow struct {
	kernels.Device
	precisions []kernels.DType
	spoils     []kernels.DType
	after      int // the run that spoils, 0 is the third
	reads      int // of latents
}

func (d *narrow) Info() kernels.Info {
	info := d.Device.Info()
	info.Precisions = d.precisions
	return info
}

func (d *narrow) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	if o.Precision == 0 {
		o.Precision = d.precisions[0]
	}
	p := &narrowProgram{device: d, plan: plan, state: -1, precision: o.Precision}
	for v, t := range plan.Tensors {
		if t.Role == kernels.State && t.Name == "x" {
			p.state = kernels.Value(v)
		}
	}
	var err error
	p.Program, err = d.Device.Compile(plan, w, kernels.Options{Precision: kernels.F32})
	return p, err
}

type narrowProgram struct {
	kernels.Program
	device         *narrow
	plan           *kernels.Plan
	state          kernels.Value // x, -1 where there is none
	precision      kernels.DType
	runs           int // since latents were last written
	spoiled, known bool
}

func (p *narrowProgram) Write(v kernels.Value, data []byte) error {
	if v == p.state {
		p.runs = 0
	}
	return p.Program.Write(v, data)
}

func (p *narrowProgram) CopyFrom(v kernels.Value, from kernels.Program, src kernels.Value) error {
	if v == p.state {
		p.runs = 0
	}
	return p.Program.CopyFrom(v, from.(*narrowProgram).Program, src)
}

func (p *narrowProgram) Run(ctx context.Context) error {
	p.known = p.spoiled
	if err := p.Program.Run(ctx); err != nil {
		return err
	}
	p.runs++
	if p.state >= 0 && p.runs >= cmp.Or(p.device.after, 3) && slices.Contains(p.device.spoils, p.precision) {
		p.spoiled = true
		nan := bytes.Repeat([]byte{0xff}, int(p.plan.Tensors[p.state].Bytes()))
		return p.Program.Write(p.state, nan)
	}
	return nil
}

func (p *narrowProgram) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	if v == p.state {
		p.device.reads++
	}
	return p.Program.Read(ctx, v, dst)
}

func (p *narrowProgram) Finite(context.Context) error {
	return kernels.NotFinitef("a.node: NaN in %v", p.precision)
}

func (p *narrowProgram) AsyncFinite() bool { return true }

func (p *narrowProgram) NonFinite() bool { return p.known }

func (p *narrowProgram) Sync(context.Context) (bool, error) {
	was := p.spoiled
	p.spoiled, p.known = false, false
	return was, nil
}

// TestOverflow lets sampling steps overflow: the image is that of the wider precision, whoever looks on meanwhile; nobody waits for a step that no callback asks for.
func TestOverflow(t *testing.T) {
	plain, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	f16, bf16 := kernels.F16, kernels.BF16
	given := nn.NewTensor(1, 4, 5, 6)
	for i := range given.Data {
		given.Data[i] = float32(math.Sin(float64(i)))
	}
	draw := func(d *narrow, log *slog.Logger, watch, set bool, steps int) ([]float32, int, error) {
		t.Helper()
		d.Device = plain
		p, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d, log), Log: log})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r := Request{Prompt: "a cat"}
		r.Seed, r.Width, r.Height, r.Steps, r.Scheduler, r.LatentsOnly = new(uint64(3)), 48, 40, steps, "dpmpp_2m_sde", true
		seen := 0
		if watch {
			r.OnStep = func(step int, x *Tensor) error {
				if seen++; step != seen {
					t.Errorf("latents of step %d, want %d", step, seen)
				}
				if slices.ContainsFunc(x.Data, func(v float32) bool { return v != v }) {
					t.Errorf("step %d: NaN", step)
				}
				return nil
			}
		}
		ctx := context.Background()
		run, err := p.Start(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		for run.Next() {
			if set && run.next == 2 {
				if err := run.SetLatents(t.Context(), given); err != nil {
					t.Fatal(err)
				}
			}
			if err := run.Step(ctx); err != nil {
				return nil, seen, err
			}
		}
		during := d.reads
		result, err := run.Finish(ctx)
		if err != nil {
			return nil, seen, err
		}
		if !watch && d.spoils == nil && during != 0 {
			t.Errorf("%d reads of latents before the end, want none", during)
		}
		return result.Latents.Data, seen, nil
	}
	for _, set := range []bool{false, true} {
		want, _, err := draw(&narrow{precisions: []kernels.DType{f16, bf16}}, nil, false, set, 8)
		if err != nil {
			t.Fatal(err)
		}
		for _, watch := range []bool{false, true} {
			var log bytes.Buffer
			got, seen, err := draw(&narrow{precisions: []kernels.DType{f16, bf16}, spoils: []kernels.DType{f16}}, slog.New(slog.NewTextHandler(&log, nil)), watch, set, 8)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("set %v, watch %v: the image is not that of the wider precision", set, watch)
			}
			if watch && seen != 8 {
				t.Errorf("set %v: %d latents shown, want 8", set, seen)
			}
			if n := strings.Count(log.String(), "unet overflows in fp16"); n != 1 {
				t.Errorf("set %v, watch %v: %d warnings, want 1:\n%s", set, watch, n, &log)
			}
		}
	}
	for name, c := range map[string]struct {
		device *narrow
		watch  bool
		steps  int
		want   string
	}{
		"both":                      {&narrow{precisions: []kernels.DType{f16, bf16}, spoils: []kernels.DType{f16, bf16}}, false, 8, "step 3 of 8: a.node: NaN in bf16"},
		"both, watched":             {&narrow{precisions: []kernels.DType{f16, bf16}, spoils: []kernels.DType{f16, bf16}}, true, 8, "step 3 of 8: a.node: NaN in bf16"},
		"nothing wider":             {&narrow{precisions: []kernels.DType{bf16, f16}, spoils: []kernels.DType{bf16}}, false, 8, "step 3 of 8: a.node: NaN in bf16"},
		"nothing wider, watched":    {&narrow{precisions: []kernels.DType{bf16, f16}, spoils: []kernels.DType{bf16}}, true, 8, "a.node: NaN in bf16"},
		"nothing wider, at the end": {&narrow{precisions: []kernels.DType{bf16, f16}, spoils: []kernels.DType{bf16}}, false, 3, "step 3 of 3: a.node: NaN in bf16"},
	} {
		if _, _, err := draw(c.device, nil, c.watch, false, c.steps); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
