package sdxl

// controlsOf are the ControlNets of a later expert of an ensemble, whose part this is: Start and End, fractions of all the
// evaluations of the experts, become those of its own, which are the last ones. A ControlNet that has ended before them
// stays with scale 0, since a union's other images are computed beside it.
func (q *resolved) controlsOf(all int) (list []Control) {
	const same = 1e-9 // of fractions: an evaluation that begins or ends there counts
	own := float64(q.controlSteps)
	before := float64(all) - own
	for i, c := range q.request.Controls {
		of := func(fraction float64) float64 { return (fraction*float64(all) - before) / max(own, 1) }
		p := q.Controls[i]
		c.Start, c.End = max(0, of(p.Start)-same), min(1, of(p.End)+same)
		if of(p.End) <= 0 {
			c.Scale, c.Start, c.End = new(0.0), 0, 1
		}
		list = append(list, c)
	}
	return list
}
