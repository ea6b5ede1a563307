package sdxl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// residency decides which components' weights stay on the device; pipelines that share parts share it. On a device with memory of its own a component
// stays until a program of another one has no room; of those that could make room, the ones that are quickest to bring back leave. Elsewhere, where
// weights are pages of mapped files, every component leaves when its part of a picture is done. It implements nn.Manager.
type residency struct {
	device kernels.Budgeted // nil where memory is the host's
	log    *slog.Logger

	mu    sync.Mutex
	parts []part
	ready *nn.Program // the last that there was room for; nothing has changed since
	said  map[string]bool
}

// part is a component that can leave the device.
type part struct {
	name    string
	network holder
}

// holder is what the planner needs of an *nn.Network.
type holder interface {
	Bytes() int64
	SetResident(ctx context.Context, on bool) error
	Trim() error
}

func newResidency(d kernels.Device, log *slog.Logger) *residency {
	r := &residency{log: log, said: map[string]bool{}}
	r.device, _ = d.(kernels.Budgeted)
	return r
}

// manage puts a component under the planner; Close takes it out again and closes it.
func (p *Pipeline) manage(name string, n *nn.Network) {
	if p.encoder1 == nil && name != "text_encoder" {
		name = "refiner's " + name
	}
	p.memory.add(name, n)
	n.OnOverflow(overflowed(p.options.Log, name))
	p.closers = append(p.closers, managed{p.memory, n})
}

// managed is a component to close.
type managed struct {
	memory  *residency
	network *nn.Network
}

func (m managed) Close() error {
	m.memory.remove(m.network)
	return m.network.Close()
}

// add takes a component under management.
func (r *residency) add(name string, n *nn.Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = append(r.parts, part{name, n})
	n.Manage(r)
}

// remove forgets a component that is about to be closed.
func (r *residency) remove(n *nn.Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = nil
	r.parts = slices.DeleteFunc(r.parts, func(p part) bool { return p.network == n })
}

// done tells that a component's share of a picture is done.
func (r *residency) done(ctx context.Context, n *nn.Network) error {
	if r.device != nil {
		return nil
	}
	return n.SetResident(ctx, false)
}

// Before implements nn.Manager.
func (r *residency) Before(ctx context.Context, n *nn.Network, p *nn.Program) error {
	if r.device == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ready == p {
		return nil
	}
	r.ready = nil
	if err := r.makeRoom(ctx, n, p.Footprint()); err != nil {
		return err
	}
	r.ready = p
	return nil
}

// Full implements nn.Manager: every other component leaves.
func (r *residency) Full(n *nn.Network) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = nil
	for _, p := range r.parts {
		if p.network == n || p.network.Bytes() == 0 {
			continue
		}
		r.say(p.name+" leaves the device", "weights", size(p.network.Bytes()), "for", "programs of "+r.name(n))
		if err := p.network.SetResident(context.Background(), false); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom lets components leave until a program of n finds the memory that it needs.
func (r *residency) makeRoom(ctx context.Context, n holder, need kernels.Footprint) error {
	free, others, err := r.room(n)
	if err != nil {
		return err
	}
	wanted := need.Missing + need.Arena
	leaving, ok := leave(others, wanted-free)
	if !ok { // programs of other sizes hold memory too
		for _, p := range r.parts {
			if err := p.network.Trim(); err != nil {
				return err
			}
		}
		if free, others, err = r.room(n); err != nil {
			return err
		}
		if leaving, ok = leave(others, wanted-free); !ok {
			return r.tooLarge(n, need, free, others)
		}
	}
	if need.Missing > 0 {
		r.say(r.name(n)+" comes to the device", "weights", size(need.Missing), "arena", size(need.Arena), "free", size(free), "leaving", names(leaving))
	} else if len(leaving) > 0 {
		r.say(r.name(n)+" needs more memory", "arena", size(need.Arena), "free", size(free), "leaving", names(leaving))
	}
	for _, p := range leaving {
		if err := p.network.SetResident(ctx, false); err != nil {
			return fmt.Errorf("%s leaves the device: %w", p.name, err)
		}
	}
	return nil
}

// room returns the memory that a program of n finds, the arena included, and the components that could leave for it.
func (r *residency) room(n holder) (free int64, others []part, err error) {
	m, err := r.device.Memory()
	if err != nil {
		return 0, nil, err
	}
	for _, p := range r.parts {
		if p.network != n && p.network.Bytes() > 0 {
			others = append(others, p)
		}
	}
	return m.Limit - m.Used + m.Arena, others, nil
}

// leave chooses the parts that free so many bytes and have the fewest in all; false if all of them do not.
func leave(parts []part, bytes int64) (chosen []part, ok bool) {
	if bytes <= 0 {
		return nil, true
	}
	best, which := int64(-1), 0
	for set := range 1 << len(parts) {
		var sum int64
		for i, p := range parts {
			if set>>i&1 == 1 {
				sum += p.network.Bytes()
			}
		}
		if sum >= bytes && (best < 0 || sum < best) {
			best, which = sum, set
		}
	}
	for i, p := range parts {
		if which>>i&1 == 1 {
			chosen = append(chosen, p)
		}
	}
	return chosen, best >= 0
}

// fits tells whether a program of n could run if everything else left; an error that makes it impossible otherwise is told by running it.
func (r *residency) fits(n *nn.Network, p *nn.Program) (bool, error) {
	if r.device == nil {
		return true, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	free, others, err := r.room(n)
	if err != nil {
		return false, err
	}
	f := p.Footprint()
	_, ok := leave(others, f.Missing+f.Arena-free)
	return ok, nil
}

// tooLarge is the error of a program that finds no room even alone.
func (r *residency) tooLarge(n holder, need kernels.Footprint, free int64, others []part) error {
	for _, p := range others {
		free += p.network.Bytes()
	}
	return fmt.Errorf("%s: %w: %s needed (weights %s, values of a run %s), %s free with everything else gone: choose a smaller size or batch, or give the device more memory",
		r.name(n), kernels.ErrMemory, size(need.Missing+need.Arena), size(need.Missing), size(need.Arena), size(free))
}

func (r *residency) name(n holder) string {
	for _, p := range r.parts {
		if p.network == n {
			return p.name
		}
	}
	return "a component"
}

// say logs a decision: for users when it is new, later ones like it for who looks closer.
func (r *residency) say(what string, args ...any) {
	level, key := slog.LevelInfo, what+fmt.Sprint(args[len(args)-1])
	if r.said[key] {
		level = slog.LevelDebug
	}
	r.said[key] = true
	r.log.Log(context.Background(), level, what, args...)
}

func names(parts []part) string {
	if len(parts) == 0 {
		return "nothing"
	}
	var list []string
	for _, p := range parts {
		list = append(list, p.name)
	}
	return strings.Join(list, ", ")
}

func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

// tile chooses how the autoencoder works on a picture of a size: whole if the device has room for it, else in tiles as diffusers' of sample_size pixels, or in
// smaller ones where those are too large too.
func (p *Pipeline) tile(decode bool, picture Size) error {
	a := p.vae.Autoencoder
	if p.memory.device == nil {
		return nil
	}
	unit := 4 * a.Config.ScaleFactor()
	smallest := min(4*unit, a.Config.SampleSize)
	for a.Tile = 0; ; {
		program, err := a.Program(decode, picture.Height, picture.Width)
		if err != nil && !errors.Is(err, kernels.ErrMemory) {
			return err
		}
		if err == nil {
			ok, err := p.memory.fits(a.Network, program)
			if err != nil {
				return err
			}
			if ok {
				break
			}
		}
		if next := a.Tile / 2; a.Tile == 0 {
			a.Tile = max(unit, a.Config.SampleSize/unit*unit)
		} else if next < smallest || next%unit != 0 {
			break // the run says what is missing
		} else {
			a.Tile = next
		}
	}
	if a.Tile > 0 {
		p.memory.mu.Lock()
		defer p.memory.mu.Unlock()
		p.memory.say("the autoencoder works in tiles: the whole picture does not fit", "size", fmt.Sprintf("%d×%d", picture.Width, picture.Height), "tile", a.Tile)
	}
	return nil
}
