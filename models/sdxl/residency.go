package sdxl

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// residency decides which components' weights stay on the device, and whether there is memory for a program; pipelines
// that share parts share it. On a device with memory of its own a component stays until a program of another one has no
// room; of those that could make room, the ones that are quickest to bring back leave. On the host, where weights are
// pages of mapped files or can't leave, every component is told to leave when its part of a picture is done. It
// implements nn.Manager.
type residency struct {
	device memoryReporter
	host   bool             // its memory is the host's
	log    *slog.Logger

	mu    sync.Mutex
	parts []part
	ready *nn.Program // the last that there was room for; nothing has changed since
	said  map[string]bool
}

// memoryReporter is what the planner needs of a kernels.Device.
type memoryReporter interface {
	Memory() (kernels.Memory, error)
}

// part is a component that can leave the device.
type part struct {
	name    string
	network holder
}

// holder is what the planner needs of an *nn.Network.
type holder interface {
	Bytes() int64
	Spare() int64
	SetResident(ctx context.Context, on bool) error
	Trim() error
}

func newResidency(d kernels.Device, log *slog.Logger) *residency {
	return &residency{device: d, host: d.Info().HostMemory, log: log, said: map[string]bool{}}
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
	if !r.host {
		return nil
	}
	return n.SetResident(ctx, false)
}

// Before implements nn.Manager.
func (r *residency) Before(ctx context.Context, n *nn.Network, p *nn.Program) error {
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

// Full implements nn.Manager: every other component leaves, and closes programs of other sizes.
func (r *residency) Full(n *nn.Network) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = nil
	for _, p := range r.parts {
		if p.network == n {
			continue
		}
		if err := p.network.Trim(); err != nil {
			return err
		}
		if r.host || p.network.Bytes() == 0 {
			continue
		}
		r.say(p.name+" leaves the device", "weights", kernels.FormatBytes(p.network.Bytes()), "for", "programs of "+r.name(n))
		if err := p.network.SetResident(context.Background(), false); err != nil {
			return err
		}
	}
	return nil
}

// plan is what makes room for a program.
type plan struct {
	leaving []part
	trim    bool  // programs of other sizes have to close first, and then there is another plan
	free    int64 // the memory that the program finds as it is, the arena included
}

// find plans for a program of n, and buffers beside it. It changes nothing.
func (r *residency) find(n holder, need kernels.Footprint, buffers int64) (plan, error) {
	m, others, err := r.room(n)
	if err != nil {
		return plan{}, err
	}
	free := m.Limit - m.Used + m.Arena
	lacks := need.Missing + need.Arena + buffers - free
	if leaving, ok := leave(others, lacks); ok {
		return plan{leaving: leaving, free: free}, nil
	}
	for _, p := range r.parts {
		lacks -= p.network.Spare()
	}
	if _, ok := leave(others, lacks); ok {
		return plan{trim: true, free: free}, nil
	}
	return plan{}, r.tooLarge(n, need, lacks, m.Limit, others)
}

// makeRoom lets components leave until a program of n finds the memory that it needs.
func (r *residency) makeRoom(ctx context.Context, n holder, need kernels.Footprint) error {
	found, err := r.find(n, need, 0)
	if err == nil && found.trim {
		for _, p := range r.parts {
			if err := p.network.Trim(); err != nil {
				return err
			}
		}
		found, err = r.find(n, need, 0)
	}
	if err != nil {
		return err
	}
	leaving, free := found.leaving, found.free
	if need.Missing > 0 {
		r.say(r.name(n)+" comes to the device", "weights", kernels.FormatBytes(need.Missing), "arena", kernels.FormatBytes(need.Arena), "free", kernels.FormatBytes(free), "leaving", names(leaving))
	} else if len(leaving) > 0 {
		r.say(r.name(n)+" needs more memory", "arena", kernels.FormatBytes(need.Arena), "free", kernels.FormatBytes(free), "leaving", names(leaving))
	}
	for _, p := range leaving {
		if err := p.network.SetResident(ctx, false); err != nil {
			return fmt.Errorf("%s leaves the device: %w", p.name, err)
		}
	}
	return nil
}

// room returns the device's memory, and the components that could leave for a program of n.
func (r *residency) room(n holder) (m kernels.Memory, others []part, err error) {
	if m, err = r.device.Memory(); err != nil || r.host {
		return m, nil, err
	}
	for _, p := range r.parts {
		if p.network != n && p.network.Bytes() > 0 {
			others = append(others, p)
		}
	}
	return m, others, nil
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

// fits returns nil if a program of n could run, with buffers of so many bytes of the host's memory beside it; else what
// tooLarge says. Nothing leaves yet.
func (r *residency) fits(n *nn.Network, p *nn.Program, buffers int64) error {
	if !r.host {
		buffers = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = nil // p may have been compiled just now
	_, err := r.find(n, p.Footprint(), buffers)
	return err
}

// tooLarge is the error of a program that lacks so many bytes of the limit even with everything else gone that can go.
func (r *residency) tooLarge(n holder, need kernels.Footprint, lacks, limit int64, others []part) error {
	for _, p := range others {
		lacks -= p.network.Bytes()
	}
	return fmt.Errorf("%s: %w (weights to come %s, values of a run %s)", r.name(n), &kernels.MemoryError{Needed: limit + lacks, Allowed: limit}, kernels.FormatBytes(need.Missing), kernels.FormatBytes(need.Arena))
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
