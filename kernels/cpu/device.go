package cpu

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

// Options configures a device.
type Options struct {
	// Threads is the number of workers; 0 is GOMAXPROCS, which follows the process's affinity and CPU limit.
	Threads int
	// Variant names the kernels: "avx512", "avx2" or "portable"; "" is the best this machine has.
	Variant string
	// Memory is the most bytes of the process's memory that the device takes: arena, what programs hold of their own,
	// and weights but those in the pages of mapped files. 0 is DefaultMemory.
	Memory int64
	// Trace, if set, is called for every node that a run has computed, in order, on the goroutine that called Run.
	Trace func(Timing)
}

// Timing is what Options.Trace is called with.
type Timing struct {
	Node     kernels.Node
	FLOPs    int64
	Duration time.Duration
}

// Device is the CPU. It implements kernels.Device; its methods are safe for concurrent use.
type Device struct {
	variant *variant
	workers *workers
	trace   func(Timing)
	engine  *engine.Device
	arena   arena // guarded by the engine's mutex, as the workers are
	memory  budget

	arithmetic *arithmetic
	idle       *time.Timer // runs out when no program has run for idleTime
}

var _ kernels.Device = (*Device)(nil)

// New makes a device. It measures nothing, so it is fast; Close ends its workers.
func New(o Options) (*Device, error) {
	v, err := chooseVariant(o.Variant)
	if err != nil {
		return nil, err
	}
	const most = 1 << 12
	if o.Threads < 0 || o.Threads > most {
		return nil, fmt.Errorf("cpu: threads %d: must be 0 (all) to %d", o.Threads, most)
	}
	if o.Memory < 0 {
		return nil, fmt.Errorf("cpu: memory is %d bytes: must be 0 (what the system allows) or more", o.Memory)
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory()
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	d := &Device{
		variant: v,
		workers: newWorkers(o.Threads),
		trace:   o.Trace,
		engine: engine.NewDevice("cpu", kernels.Info{
			Name:       "cpu",
			Detail:     fmt.Sprintf("%s, %s, %d threads", modelName(), v.name, o.Threads),
			Precisions: []kernels.DType{kernels.F32},
			Memory:     o.Memory,
			HostMemory: true,
			Variant:    v.name,
			Variants:   variantNames(),
		}),
		memory:     newBudget(o.Memory),
		arithmetic: newArithmetic(v.gemm),
	}
	d.idle = time.AfterFunc(idleTime, d.rest)
	return d, nil
}

// Info implements kernels.Device. PeakFLOPS is 0 until the method of that name has measured it.
func (d *Device) Info() kernels.Info { return d.engine.Info() }

// Lost implements kernels.Device: the CPU is never lost.
func (d *Device) Lost() error { return nil }

// Supports implements kernels.Device.
func (d *Device) Supports(s kernels.Spec, in []kernels.Tensor) bool {
	out, err := s.Infer(in)
	if err != nil {
		return false
	}
	_, err = newKernel(s, in, out, d.variant)
	return err == nil
}

// Close implements kernels.Device: it ends the workers. It is an error, and does nothing, while programs or weights are
// open; closing again does nothing.
func (d *Device) Close() error {
	first, err := d.engine.Close()
	if first {
		d.idle.Stop()
		d.workers.close()
	}
	return err
}

// need is the size of the arena that the open programs share, in float32.
func (d *Device) need() int { return int(d.engine.Arena() / 4) }

// modelName is the CPU's, as /proc has it, else its architecture.
func modelName() string {
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		lines := bufio.NewScanner(io.LimitReader(f, 1<<12))
		for lines.Scan() {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}
