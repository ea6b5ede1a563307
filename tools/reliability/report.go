package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
)

// report collects figures and violations. Its methods may be called at the same time.
type report struct {
	mu         sync.Mutex
	figures    [][2]string
	violations map[string]*violation
}

// violation is one kind of what must not happen.
type violation struct {
	times    int
	examples []string
}

const mostExamples = 5

func newReport() *report { return &report{violations: map[string]*violation{}} }

// figure adds a line to the table.
func (r *report) figure(name, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures = append(r.figures, [2]string{name, fmt.Sprintf(format, args...)})
}

// violate notes something that must not happen.
func (r *report) violate(kind, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.violations[kind]
	if v == nil {
		v = &violation{}
		r.violations[kind] = v
	}
	v.times++
	if len(v.examples) < mostExamples {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

// end writes the table. The error says that something was violated.
func (r *report) end(w io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.figures {
		if _, err := fmt.Fprintf(table, "%s\t%s\n", f[0], f[1]); err != nil {
			return err
		}
	}
	all := 0
	for _, kind := range slices.Sorted(maps.Keys(r.violations)) {
		v := r.violations[kind]
		all += v.times
		fmt.Fprintf(table, "VIOLATED: %s\t%d times\n", kind, v.times) // an error stays with the table
		for _, example := range v.examples {
			fmt.Fprintf(table, "\t%s\n", example)
		}
	}
	fmt.Fprintf(table, "violations\t%d\n", all)
	if err := table.Flush(); err != nil {
		return err
	}
	if all > 0 {
		return errors.New("violations, see the table")
	}
	return nil
}
