package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/goxl/goxl/kernels"
)

// Device is what a device of any kind keeps of itself. Its mutex is the right to compute: programs share the arena. Its
// methods are safe for concurrent use.
type Device struct {
	Mutex
	kind string // begins errors

	mu       sync.Mutex
	info     kernels.Info
	programs map[kernels.Program]int64 // bytes of arena that each open program needs
	weights  int                       // open
	closed   bool
}

// NewDevice returns the state of a device that nothing is open on. Errors begin with its kind, "cpu" for instance.
func NewDevice(kind string, info kernels.Info) *Device {
	return &Device{Mutex: NewMutex(), kind: kind, info: info, programs: map[kernels.Program]int64{}}
}

// Info is what the device was made with, and the peak once it is measured.
func (d *Device) Info() kernels.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}

// Precision is the one to compile for: the first that the device offers unless the options choose another of them.
func (d *Device) Precision(o kernels.Options) (kernels.DType, error) {
	var names []string
	for _, p := range d.info.Precisions {
		if o.Precision == 0 || o.Precision == p {
			return p, nil
		}
		names = append(names, p.String())
	}
	return 0, fmt.Errorf("%s: precision %v: this device computes in %s", d.kind, o.Precision, strings.Join(names, " or "))
}

// Peak returns the peak that Info has, which measure gives at the first call, with the mutex held.
func (d *Device) Peak(ctx context.Context, measure func() (float64, error)) (float64, error) {
	if err := d.LockContext(ctx); err != nil {
		return 0, err
	}
	defer d.Unlock()
	if err := d.Open(); err != nil {
		return 0, err
	}
	if known := d.Info().PeakFLOPS; known > 0 {
		return known, nil
	}
	peak, err := measure()
	if err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info.PeakFLOPS = peak
	return peak, nil
}

// Open returns an error once the device is closed.
func (d *Device) Open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open()
}

func (d *Device) open() error {
	if d.closed {
		return fmt.Errorf("%s: the device is closed", d.kind)
	}
	return nil
}

// AddProgram counts a program that needs so many bytes of arena; it is an error once the device is closed.
func (d *Device) AddProgram(p kernels.Program, arena int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.open(); err != nil {
		return err
	}
	d.programs[p] = arena
	return nil
}

// RemoveProgram is called once the program is closed.
func (d *Device) RemoveProgram(p kernels.Program) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.programs, p)
}

// Arena is how many bytes of arena the open programs share: the most that one of them needs.
func (d *Device) Arena() (most int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.programs {
		most = max(most, n)
	}
	return most
}

// AddWeights counts weights; it is an error once the device is closed.
func (d *Device) AddWeights() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.open(); err != nil {
		return err
	}
	d.weights++
	return nil
}

// RemoveWeights is called once for weights that are closed.
func (d *Device) RemoveWeights() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.weights--
}

// Close closes the device, and reports whether this call did: a second one changes nothing. It is an error while
// programs or weights are open.
func (d *Device) Close() (first bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.programs) > 0 || d.weights > 0 {
		return false, fmt.Errorf("%s: closing the device with %d programs and %d weights open", d.kind, len(d.programs), d.weights)
	}
	first, d.closed = !d.closed, true
	return first, nil
}
