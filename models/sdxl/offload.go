package sdxl

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// offloader decides which components' weights stay on the device, and whether there is memory for a program; all models
// of a host share it. On a device with memory of its own a component stays until a program of another one has no room;
// of those that could make room, the ones that are quickest to load again are evicted. On the host, where weights are
// pages of mapped files or can't be evicted, every component is evicted when its part of an image is done. It
// implements nn.Manager.
type offloader struct {
	device memoryReporter
	host   bool // its memory is the host's
	log    *slog.Logger

	mu         sync.Mutex
	components []component
	ready      *nn.Program // the last that there was room for; nothing has changed since
	said       map[string]bool

	evictions atomic.Uint64 // components that left the device for another
}

// memoryReporter is what the planner needs of a kernels.Device.
type memoryReporter interface {
	Memory() (kernels.Memory, error)
}

// component is one that can be evicted from the device.
type component struct {
	name    string
	network network
}

// network is what the planner needs of an *nn.Network.
type network interface {
	Bytes() int64
	Spare() int64
	SetResident(ctx context.Context, on bool) error
	Trim() error
}

func newOffloader(d kernels.Device, log *slog.Logger) *offloader {
	return &offloader{device: d, host: d.Info().HostMemory, log: log, said: map[string]bool{}}
}

// add takes a component under management.
func (r *offloader) add(name string, n *nn.Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.components = append(r.components, component{r.unique(name), n})
	n.Manage(r)
}

// unique is a name that no component has: of several models on one host, the second one's UNet is "unet #2".
func (r *offloader) unique(name string) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(r.components, func(c component) bool { return c.name == name })
	}
	unique := name
	for i := 2; taken(unique); i++ {
		unique = fmt.Sprintf("%s #%d", name, i)
	}
	return unique
}

// remove forgets a component that is about to be closed.
func (r *offloader) remove(n *nn.Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = nil
	r.components = slices.DeleteFunc(r.components, func(p component) bool { return p.network == n })
}

// done says that a component's part of an image is done.
func (r *offloader) done(ctx context.Context, n *nn.Network) error {
	if !r.host {
		return nil
	}
	return n.SetResident(ctx, false)
}

// Before implements nn.Manager.
func (r *offloader) Before(ctx context.Context, n *nn.Network, p *nn.Program) error {
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

// Full implements nn.Manager: every other component is evicted, and closes programs of other sizes.
func (r *offloader) Full(n *nn.Network) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = nil
	for _, p := range r.components {
		if p.network == n {
			continue
		}
		if err := p.network.Trim(); err != nil {
			return err
		}
		if r.host || p.network.Bytes() == 0 {
			continue
		}
		r.say(p.name+" is evicted", "weights", kernels.FormatBytes(p.network.Bytes()), "for", "programs of "+r.name(n))
		if err := p.network.SetResident(context.Background(), false); err != nil {
			return err
		}
		r.evictions.Add(1)
	}
	return nil
}

// plan is what makes room for a program.
type plan struct {
	evicted []component
	trim    bool  // programs of other sizes have to close first, and then there is another plan
	free    int64 // the memory that the program finds as it is, the arena included
}

// find plans for a program of n, and buffers beside it. It changes nothing.
func (r *offloader) find(n network, need kernels.Footprint, buffers int64) (plan, error) {
	m, others, err := r.room(n)
	if err != nil {
		return plan{}, err
	}
	free := m.Limit - m.Used + m.Arena
	lacks := need.Missing + need.Arena + buffers - free
	if evicted, ok := evict(others, lacks); ok {
		return plan{evicted: evicted, free: free}, nil
	}
	for _, p := range r.components {
		lacks -= p.network.Spare()
	}
	if _, ok := evict(others, lacks); ok {
		return plan{trim: true, free: free}, nil
	}
	return plan{}, r.tooLarge(n, need, lacks, m.Limit, others)
}

// makeRoom evicts components until a program of n finds the memory that it needs.
func (r *offloader) makeRoom(ctx context.Context, n network, need kernels.Footprint) error {
	found, err := r.find(n, need, 0)
	if err == nil && found.trim {
		for _, p := range r.components {
			if err := p.network.Trim(); err != nil {
				return err
			}
		}
		found, err = r.find(n, need, 0)
	}
	if err != nil {
		return err
	}
	evicted, free := found.evicted, found.free
	if need.Missing > 0 {
		r.say(r.name(n)+" is loaded to the device", "weights", kernels.FormatBytes(need.Missing), "arena", kernels.FormatBytes(need.Arena), "free", kernels.FormatBytes(free), "evicting", names(evicted))
	} else if len(evicted) > 0 {
		r.say(r.name(n)+" needs more memory", "arena", kernels.FormatBytes(need.Arena), "free", kernels.FormatBytes(free), "evicting", names(evicted))
	}
	for _, p := range evicted {
		if err := p.network.SetResident(ctx, false); err != nil {
			return fmt.Errorf("%s is evicted: %w", p.name, err)
		}
		r.evictions.Add(1)
	}
	return nil
}

// room returns the device's memory, and the components that could be evicted for a program of n.
func (r *offloader) room(n network) (m kernels.Memory, others []component, err error) {
	if m, err = r.device.Memory(); err != nil || r.host {
		return m, nil, err
	}
	for _, p := range r.components {
		if p.network != n && p.network.Bytes() > 0 {
			others = append(others, p)
		}
	}
	return m, others, nil
}

// exhaustive is how many components evict tries all choices of: three models' or so.
const exhaustive = 12

// evict chooses the components that free so many bytes and have the fewest in all; false if all of them do not. Of very
// many it takes the smallest that does alone, or else the largest until they do.
func evict(components []component, bytes int64) (chosen []component, ok bool) {
	if bytes <= 0 {
		return nil, true
	}
	if len(components) > exhaustive {
		return evictLargest(components, bytes)
	}
	best, which := int64(-1), 0
	for set := range 1 << len(components) {
		var sum int64
		for i, p := range components {
			if set>>i&1 == 1 {
				sum += p.network.Bytes()
			}
		}
		if sum >= bytes && (best < 0 || sum < best) {
			best, which = sum, set
		}
	}
	for i, p := range components {
		if which>>i&1 == 1 {
			chosen = append(chosen, p)
		}
	}
	return chosen, best >= 0
}

func evictLargest(components []component, bytes int64) (chosen []component, ok bool) {
	ascending := slices.SortedFunc(slices.Values(components), func(a, b component) int { return cmp.Compare(a.network.Bytes(), b.network.Bytes()) })
	if i := slices.IndexFunc(ascending, func(c component) bool { return c.network.Bytes() >= bytes }); i >= 0 {
		return ascending[i : i+1], true
	}
	for _, c := range slices.Backward(ascending) {
		if bytes <= 0 {
			break
		}
		chosen = append(chosen, c)
		bytes -= c.network.Bytes()
	}
	return chosen, bytes <= 0
}

// fits returns nil if a program of n could run, with buffers of so many bytes of the host's memory beside it; else what
// tooLarge says. Nothing is evicted yet.
func (r *offloader) fits(n *nn.Network, p *nn.Program, buffers int64) error {
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
func (r *offloader) tooLarge(n network, need kernels.Footprint, lacks, limit int64, others []component) error {
	for _, p := range others {
		lacks -= p.network.Bytes()
	}
	return fmt.Errorf("%s: %w (weights to come %s, values of a run %s)", r.name(n), &kernels.MemoryError{Needed: limit + lacks, Allowed: limit}, kernels.FormatBytes(need.Missing), kernels.FormatBytes(need.Arena))
}

func (r *offloader) name(n network) string {
	for _, p := range r.components {
		if p.network == n {
			return p.name
		}
	}
	return "a component"
}

// say logs a decision: at level info when it is new, later ones like it at level debug.
func (r *offloader) say(what string, args ...any) {
	level, key := slog.LevelInfo, what+fmt.Sprint(args[len(args)-1])
	if r.said[key] {
		level = slog.LevelDebug
	}
	r.said[key] = true
	r.log.Log(context.Background(), level, what, args...)
}

func names(components []component) string {
	if len(components) == 0 {
		return "nothing"
	}
	var list []string
	for _, p := range components {
		list = append(list, p.name)
	}
	return strings.Join(list, ", ")
}
