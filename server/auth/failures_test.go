package auth

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestFailures(t *testing.T) {
	f := NewFailures()
	now := time.Unix(1_800_000_000, 0)
	a := netip.MustParseAddr("192.0.2.1")
	for i := range failureBurst {
		if wait := f.Note(a, now); wait != 0 {
			t.Fatalf("failure %d waits %v", i, wait)
		}
	}
	for range 3 { // those that are refused count no more
		if wait := f.Note(a, now); wait != failurePause {
			t.Errorf("one more: wait %v, want %v", wait, failurePause)
		}
	}
	if wait := f.Note(netip.MustParseAddr("::ffff:192.0.2.1"), now); wait != failurePause {
		t.Errorf("the same address: %v", wait)
	}
	if wait := f.Note(netip.MustParseAddr("192.0.2.2"), now); wait != 0 {
		t.Errorf("another address: %v", wait)
	}
	if wait := f.Note(a, now.Add(failurePause)); wait != 0 {
		t.Errorf("later: %v", wait)
	}
	for i := range failureBurst { // whoever has one IPv6 address has 2^64
		f.Note(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), now)
	}
	if f.Note(netip.MustParseAddr("2001:db8::ffff:1%eth0"), now) == 0 || f.Note(netip.MustParseAddr("2001:db8:0:1::1"), now) != 0 {
		t.Error("an IPv6 network is not one client")
	}
	if f.Note(netip.Addr{}, now) != 0 {
		t.Error("an unknown address")
	}
}

// The memory is bounded; who was wrong too often is remembered before those who were once, long ago.
func TestFailuresAreForgotten(t *testing.T) {
	f := NewFailures()
	now := time.Unix(1_800_000_000, 0)
	many := func(network byte, at time.Time) {
		for i := range mostAddresses {
			f.Note(netip.AddrFrom4([4]byte{10, network, byte(i >> 8), byte(i)}), at)
		}
	}
	many(1, now)
	later := now.Add(time.Hour)
	bad := netip.MustParseAddr("192.0.2.1")
	for range failureBurst {
		f.Note(bad, later)
	}
	if n := len(f.by); n != 1 {
		t.Errorf("%d addresses are remembered, want 1", n)
	}
	many(2, later)
	if n := len(f.by); n > mostAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
}
