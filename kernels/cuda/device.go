package cuda

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/engine"
)

// Options configures a device.
type Options struct {
	// Device is the card, from 0 as CUDA_VISIBLE_DEVICES orders them.
	Device int
	// Memory is the most bytes of the card's memory that the device takes; 0 is all there is.
	Memory int64
	// Variant names the kernels: "sm_90a" (Hopper's, compute capability 9.0 alone) or "sm_80" (portable, 8.0 and newer);
	// "" is the best that the card has.
	Variant string
	// Precision of programs that do not choose: F16 (also 0) or BF16.
	Precision kernels.DType
	// Warn, if not nil, is given a line for each kernel for any shape that a full-size model runs on since no tuned one
	// fits, once. Several goroutines may call it.
	Warn func(line string)
}

// Device is one card. It implements kernels.Device; its methods are safe for concurrent use.
//
// After a fault (a kernel's, or the hardware's) every call returns the error that driver.IsLost recognises, and Lost
// returns it. Close works all the same. This process can't open the card again, another can.
type Device struct {
	context *driver.Context
	engine  *engine.Device
	sms     int
	tiles   []tile
	flash   []flashTile       // none but on Hopper
	warn    func(line string) // or nil
	warned  sync.Map          // lines
	// unfused turns off all fusion, which tells a wrong fusion from a wrong kernel.
	unfused   bool
	libraries map[kernels.DType]*library
	memory    allocator
	kept      kept
	stream    *driver.Stream
	up, down  *staging
	loader    *loader // used with the engine's mutex, which is held while work is put on the stream
	// recorder is what graphs are captured on, with the mutex: other goroutines may give work to stream at any time.
	recorder *driver.Stream
	arena    arena // guarded by the mutex
}

var _ kernels.Device = (*Device)(nil)

// Open takes a card. It takes a few tenths of a second; kernels are loaded when programs first need them.
func Open(o Options) (*Device, error) {
	d, err := driver.Open()
	if err != nil {
		return nil, err
	}
	return open(d, o)
}

func open(drv *driver.Driver, o Options) (*Device, error) {
	card, err := drv.Device(o.Device)
	if err != nil {
		return nil, err
	}
	info, err := describe(card, o)
	if err != nil {
		return nil, err
	}
	c, err := card.NewContext(driver.Block)
	if err != nil {
		return nil, err
	}
	d := &Device{
		context:   c,
		engine:    engine.NewDevice("cuda", info),
		sms:       card.Multiprocessors,
		warn:      o.Warn,
		tiles:     tiles,
		libraries: map[kernels.DType]*library{},
		memory:    allocator{context: c, limit: o.Memory},
	}
	d.kept.memory, d.memory.reclaim = &d.memory, d.kept.reclaim
	if info.Variant == "sm_90a" {
		d.tiles, d.flash = slices.Concat(hopperTiles, tmaTiles), flashTiles
	}
	for _, p := range info.Precisions {
		d.libraries[p] = newLibrary(c, p, info.Variant == "sm_90a")
	}
	fail := func(err error) (*Device, error) { return nil, errors.Join(err, c.Close()) }
	if d.stream, err = c.NewStream(0); err != nil {
		return fail(err)
	}
	if d.recorder, err = c.NewStream(0); err != nil {
		return fail(err)
	}
	if d.up, err = newStaging(c); err != nil {
		return fail(err)
	}
	if d.down, err = newStaging(c); err != nil {
		return fail(err)
	}
	if d.loader, err = newLoader(c); err != nil {
		return fail(err)
	}
	return d, nil
}

// Info implements kernels.Device. PeakFLOPS is 0 until the method of that name has measured it.
func (d *Device) Info() kernels.Info { return d.engine.Info() }

// Lost implements kernels.Device.
func (d *Device) Lost() error { return d.context.Lost() }

// Supports implements kernels.Device.
func (d *Device) Supports(s kernels.Spec, in []kernels.Tensor) bool {
	out, err := s.Infer(in)
	if err != nil {
		return false
	}
	return supported(s, in, out) == nil
}

// Close implements kernels.Device. It is an error, and does nothing, while programs or weights are open; closing again
// does nothing.
func (d *Device) Close() error {
	if first, err := d.engine.Close(); !first {
		return err
	}
	var failed []error
	if d.context.Lost() == nil {
		failed = append(failed, d.context.Synchronize(), d.arena.free(&d.memory), d.up.close(), d.down.close(), d.loader.close())
		for _, l := range d.libraries {
			failed = append(failed, l.close())
		}
		failed = append(failed, d.recorder.Close(), d.stream.Close())
	}
	return errors.Join(append(failed, d.context.Close())...)
}

// await returns when the work before an event is done, or ctx ends. It asks again and again, since the driver's own
// waiting cannot be interrupted; the pauses grow to a fraction of what a step takes.
func await(ctx context.Context, e *driver.Event) error {
	for pause := 5 * time.Microsecond; ; pause = min(2*pause, 200*time.Microsecond) {
		done, err := e.Query()
		if done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		time.Sleep(pause)
	}
}
