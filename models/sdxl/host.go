package sdxl

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Host is a device and what the models on it share: the planner of its memory, which evicts components of one model for
// those of another where there is no room for all (model offload) and lets the VAE work in tiles (VAE tiling), and the
// right to compute, which one call of any model holds at a time.
type Host struct {
	device  kernels.Device
	memory  *offloader
	compute chan struct{} // holds one token; whoever computes has it

	upscaler *openedUpscaler // the last one; nil until one is used. Who computes has it

	mu sync.Mutex
	// live are the runs whose latents are in a program of a UNet's, by its network. They change hands by who has the
	// right to compute.
	live    map[*nn.Network]*Run
	managed map[*nn.Network]bool // by memory
	adapted map[*nn.Network]adaptation
}

// adaptation is what a network's weights were changed by.
type adaptation struct {
	set    *adapterSet
	update *kernels.Update
}

// NewHost returns the host of a device. The caller closes the models, then the device. The planner's decisions go to
// log; nil is silent.
func NewHost(device kernels.Device, log *slog.Logger) (*Host, error) {
	if device == nil {
		return nil, errors.New("sdxl: the device of a host is nil: must be a device, such as cpu.New gives")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Host{device: device, memory: newOffloader(device, log), compute: make(chan struct{}, 1), live: map[*nn.Network]*Run{}, managed: map[*nn.Network]bool{}, adapted: map[*nn.Network]adaptation{}}
	h.compute <- struct{}{}
	return h, nil
}

// Device is the host's.
func (h *Host) Device() kernels.Device { return h.device }

// Evictions counts the components that left the device's memory to make room for another one.
func (h *Host) Evictions() uint64 { return h.memory.evictions.Load() }

// Manage puts a component's memory under the host's planner, under the name that its log and errors use. Models do so
// with their own parts; a part that takes one's place needs it unless it belongs to another model of this host.
func (h *Host) Manage(name string, n *nn.Network) {
	h.memory.add(name, n)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.managed[n] = true
}

// Forget undoes Manage. A component is forgotten before it is closed, and not used in between: files of adapters that are
// on it are closed.
func (h *Host) Forget(n *nn.Network) {
	h.memory.remove(n)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.managed, n)
	delete(h.live, n)
	if err := h.adapted[n].set.release(); err != nil {
		h.memory.log.Warn("closing an adapter", "error", err)
	}
	delete(h.adapted, n)
}

// adapt makes a network's weights those of a set of adapters, nil for its own. Where that fails they stay what they
// were. Its caller has the right to compute, and parked the run that is live on the network.
func (h *Host) adapt(ctx context.Context, n *nn.Network, set *adapterSet, component string) error {
	var next adaptation
	if set != nil && set.updates[component] != nil {
		next = adaptation{set, set.updates[component]}
	}
	h.mu.Lock()
	now := h.adapted[n]
	h.mu.Unlock()
	if now.update == next.update {
		return nil
	}
	if err := n.Update(ctx, next.update); err != nil {
		return err
	}
	next.set.retain()
	h.mu.Lock()
	h.adapted[n] = next
	h.mu.Unlock()
	return now.set.release()
}

// manages reports whether Manage was called for a component, and Forget was not.
func (h *Host) manages(n *nn.Network) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.managed[n]
}

// slot is the right to compute, which one call of a host holds at a time.
type slot struct {
	host *Host
	held bool
}

// acquire waits for the right to compute.
func (h *Host) acquire(ctx context.Context) (*slot, error) {
	s := &slot{host: h}
	return s, s.acquire(ctx)
}

func (s *slot) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.host.compute:
		s.held = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryAcquire is acquire that does not wait; nil if another call computes.
func (h *Host) tryAcquire() *slot {
	select {
	case <-h.compute:
		return &slot{h, true}
	default:
		return nil
	}
}

// release gives the right back, if it is held.
func (s *slot) release() {
	if s.held {
		s.held = false
		s.host.compute <- struct{}{}
	}
}

// liveRun is the run that is live on a UNet, nil if none is.
func (h *Host) liveRun(n *nn.Network) *Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live[n]
}

// setLive makes a run the one that is live on a UNet; nil makes none.
func (h *Host) setLive(n *nn.Network, r *Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r == nil {
		delete(h.live, n)
		return
	}
	h.live[n] = r
}

// park brings the state of the run that is live on a UNet to the host's memory, so that its programs may be used or
// closed. An error is the context's; other errors are kept for the run's own next call.
func (h *Host) park(ctx context.Context, n *nn.Network) error {
	run := h.liveRun(n)
	if run == nil {
		return nil
	}
	if !run.closed.Load() {
		if err := run.park(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			run.failed = err
		}
	}
	h.setLive(n, nil)
	return nil
}
