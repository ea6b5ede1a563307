package auth

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Failures limits how often an address may come with a wrong token. Right ones are no failures: one bad client behind an
// address that many share locks nobody out, and nobody guesses 256 bits.
type Failures struct {
	mu sync.Mutex
	by map[netip.Addr]*rate.Limiter
}

const (
	failureBurst  = 10              // at once
	failurePause  = 6 * time.Second // for one more
	mostAddresses = 10_000          // that are remembered
)

// NewFailures makes the memory of a server.
func NewFailures() *Failures { return &Failures{by: map[netip.Addr]*rate.Limiter{}} }

// Note counts a failure of an address. It returns 0, or how long the address must wait for the next try if there were
// too many.
func (f *Failures) Note(address netip.Addr, now time.Time) (wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	address = network(address)
	l := f.by[address]
	if l == nil {
		if len(f.by) >= mostAddresses {
			f.forget(now)
		}
		l = rate.NewLimiter(rate.Every(failurePause), failureBurst)
		f.by[address] = l
	}
	r := l.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now) // it was refused
	}
	return wait
}

// forget makes room: addresses that were not wrong for a minute go, and if there are none, some one.
func (f *Failures) forget(now time.Time) {
	for address, l := range f.by {
		if l.TokensAt(now) >= failureBurst {
			delete(f.by, address)
		}
	}
	for address := range f.by {
		if len(f.by) < mostAddresses {
			return
		}
		delete(f.by, address)
	}
}

// network is what one client has of an address: all of an IPv4 address, and of an IPv6 address 64 bits.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
