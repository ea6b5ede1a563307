package sdxl

import "testing"

// TestControlFractionsOfExperts: Start and End count the evaluations of all experts, of which each has the last ones but
// for those that later experts have.
func TestControlFractionsOfExperts(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	for _, scheduler := range []string{"euler", "heun"} {
		r := controlled(g, "full")
		r.Steps, r.Scheduler = 10, scheduler
		whole, err := m.resolve(r)
		if err != nil {
			t.Fatal(err)
		}
		n := whole.controlSteps
		for start := range n {
			for end := start + 1; end <= n; end++ {
				r.Controls[0].Start, r.Controls[0].End = float64(start)/float64(n), float64(end)/float64(n)
				e, err := newEnsemble(r, []Expert{{m, 0.3}, {m, 0.6}, {Model: m}})
				if err != nil {
					t.Fatal(err)
				}
				for i, part := range e.resolved {
					group := &controlGroup{settings: part.Controls}
					of := part.controlSteps
					for k := range part.schedule.Steps {
						at := n - of + k
						if _, acts := group.counts(k, of); acts != (at >= start && at < end) {
							t.Fatalf("%s: from %d to %d of %d, evaluation %d of expert %d at %d acts: %v", scheduler, start, end, n, k, i, at, acts)
						}
					}
				}
			}
		}
		if p := whole.Parameters.Controls[0]; p.Start != 0 || p.End != 1 {
			t.Errorf("the parameters have %v to %v", p.Start, p.End)
		}
	}
}
