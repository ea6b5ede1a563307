package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// latencies are how long answers took, by a name. Its methods may be called at the same time.
type latencies struct {
	mu sync.Mutex
	of map[string][]time.Duration
}

func newLatencies() *latencies { return &latencies{of: map[string][]time.Duration{}} }

func (l *latencies) add(name string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[name] = append(l.of[name], took)
}

func (l *latencies) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.of))
}

// sorted are those of some names together, the least first.
func (l *latencies) sorted(names ...string) (all []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		all = append(all, l.of[name]...)
	}
	slices.Sort(all)
	return all
}

// quantile is the least value that at least a fraction q of sorted values do not exceed; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted)) + 0.999999)
	return sorted[min(max(i, 1), len(sorted))-1]
}

// spread is a line about sorted values.
func spread(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "none"
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("%6d requests, p50 %8.1f ms, p99 %8.1f ms, max %8.1f ms", len(sorted), ms(quantile(sorted, 0.5)), ms(quantile(sorted, 0.99)), ms(sorted[len(sorted)-1]))
}
