package sdxl

import (
	"context"
	"image"
	"slices"
)

// join is a run that takes the steps of all members, which are at the same one.
func join(group []*member) *Run {
	first := group[0].Run
	q := *first.q
	q.request = Request{LatentsOnly: true}
	q.Watermark = false
	all := &Run{
		m: first.m, unet: first.unet, q: &q, shape: first.shape, adapters: first.adapters, started: first.started, pace: first.pace,
		noise: &noise{}, next: first.next, at: first.at, history: make([][]float32, len(first.history)),
	}
	all.shape.batch = 0
	var of []*conditioning
	for _, r := range group {
		own := &r.q.request
		all.members, of = append(all.members, r.Run), append(of, r.conditioning)
		all.shape.batch += r.shape.batch
		all.noise.generators = append(all.noise.generators, r.noise.generators...)
		all.noise.paths = append(all.noise.paths, r.noise.paths...)
		all.x = append(all.x, r.x...)
		for i, h := range r.history {
			all.history[i] = append(all.history[i], h...)
		}
		q.Watermark = q.Watermark || r.q.Watermark
		q.request.LatentsOnly = q.request.LatentsOnly && own.LatentsOnly
		if own.Image != nil {
			q.request.Image = own.Image
		}
	}
	all.conditioning = joinConditioning(of, len(q.schedule.Steps))
	all.retry.given = []given{{all.at, all.x}}
	all.retry.checked = all.at
	q.request.Progress = func(at Progress) {
		for _, r := range all.members {
			if r.q.request.Progress != nil {
				r.q.request.Progress(at)
			}
		}
	}
	if first.q.request.Stop != nil { // as of the others, whose shape is the same: x0 is kept
		q.request.Stop = make(chan struct{}) // the members look at their own
	}
	if p := first.q.request.Preview; p != nil {
		q.request.Preview = &Preview{Every: p.Every, before: p.before, Func: all.showMembers}
	}
	return all
}

// showMembers hands each member its previews.
func (r *Run) showMembers(step int, images []*image.NRGBA) {
	for _, one := range r.members {
		n := one.shape.batch
		one.q.request.Preview.Func(step, images[:n:n])
		images = images[n:]
	}
}

// split gives the members what they have after the steps that were taken for all.
func (r *Run) split(ctx context.Context) error {
	if r.live() {
		if err := r.showPreviews(ctx, true); err != nil {
			return err
		}
		if err := r.park(ctx); err != nil {
			return err
		}
		r.m.host.setLive(r.unet.Network, nil)
	}
	part := func(x []float32, i int) []float32 {
		n := len(x) / len(r.members)
		return slices.Clone(x[i*n : (i+1)*n])
	}
	for i, one := range r.members {
		generators := len(one.noise.generators)
		one.noise.generators = r.noise.generators[i*generators : (i+1)*generators]
		one.x = part(r.x, i)
		for k, h := range r.history {
			one.history[k] = part(h, i)
		}
	}
	return nil
}

// restart brings a run back to before its first step.
func (r *Run) restart() {
	r.next, r.at, r.stopped = 0, 0, false
	r.x, r.history, r.noise = r.retry.at(0), r.noHistory(), r.retry.noise.clone()
}

// joinConditioning is that of a batch for so many steps.
func joinConditioning(members []*conditioning, steps int) *conditioning {
	c := &conditioning{members: members, weights: members[0].weights}
	if !slices.ContainsFunc(members, func(m *conditioning) bool { return m.steps != nil }) {
		return c
	}
	begins := 0
	for step := range steps {
		if slices.ContainsFunc(members, func(m *conditioning) bool { return m.phase(step) != m.phase(begins) }) {
			begins = step
		}
		c.steps = append(c.steps, begins)
	}
	return c
}

// memberRows are the rows of each member at a step, those of the negative sides before the others.
func (c *conditioning) memberRows(s shape, step, part int) (text, pooled, timeIDs []float32) {
	var halves [2][3][]float32
	for _, m := range c.members {
		var rows [3][]float32
		rows[0], rows[1], rows[2] = m.rows(s, m.phase(step), part)
		for i, row := range rows {
			half := 0
			if s.guided {
				half = len(row) / 2
			}
			halves[0][i], halves[1][i] = append(halves[0][i], row[:half]...), append(halves[1][i], row[half:]...)
		}
	}
	return append(halves[0][0], halves[1][0]...), append(halves[0][1], halves[1][1]...), append(halves[0][2], halves[1][2]...)
}
