package sdxl

import "fmt"

// checkInterval is about the part of the steps that has guidance.
func (s *Spec) checkInterval(q *resolved) error {
	start, end := q.request.GuidanceStart, q.request.GuidanceEnd
	if end == 0 {
		end = 1
	}
	switch {
	case !(start >= 0 && start < 1):
		return bad("guidance_start", start, "0 and more, below 1")
	case !(end >= start && end <= 1):
		return bad("guidance_end", end, "guidance_start, which is %v, to 1, or 0 for the end", start)
	case start == 0 && end == 1:
		return nil
	}
	field, value := "guidance_start", start
	if start == 0 {
		field, value = "guidance_end", end
	}
	switch {
	case s.UNet.TimeCondProjDim > 0:
		return bad(field, value, "absent: the UNet embeds the scale of guidance, and has no negative side to leave out")
	case q.schedule.Unconditional:
		return bad(field, value, "absent with scheduler %q: CFG++ needs the negative side at every step", q.Scheduler)
	}
	q.GuidanceStart = start
	if end < 1 {
		q.GuidanceEnd = end
	}
	if !q.guided() {
		q.warnings = append(q.warnings, fmt.Sprintf("%s %v changes nothing: there is no guidance at a scale of %v", field, value, q.Guidance))
	}
	q.leaveOutGuidance()
	return nil
}

// leaveOutGuidance sets the scale of the steps outside of the interval to 1, which has no negative side. Source:
// diffusers guiders/classifier_free_guidance.py, _is_cfg_enabled, which counts the evaluations of a scheduler with two a
// step against a number of steps; here both are steps.
func (q *resolved) leaveOutGuidance() {
	first, last := insideInterval(q.GuidanceStart, q.GuidanceEnd, q.steps())
	for i := range q.guidance {
		if step := i / q.order(); step < first || step >= last {
			q.guidance[i] = min(q.guidance[i], 1)
		}
	}
}

// insideInterval are the first step of so many that has guidance, and the one after the last.
func insideInterval(start, end float64, steps int) (first, last int) {
	if end == 0 {
		end = 1
	}
	return int(start * float64(steps)), int(end * float64(steps))
}

// GuidedFrom is the first step of so many that has guidance, by Parameters.GuidanceStart.
func GuidedFrom(start float64, steps int) int {
	first, _ := insideInterval(start, 0, steps)
	return first
}

// prepare splits a request. An interval of guidance is one of the steps of all experts: each gets the scales of its own.
func (e *ensemble) prepare(r Request, ends []float64, specs []*Spec, resolve func(i int, q Request) (*resolved, error)) error {
	if err := e.split(r, ends, specs, resolve); err != nil || r.GuidanceStart == 0 && r.GuidanceEnd == 0 {
		return err
	}
	start, end := r.GuidanceStart, e.parameters.GuidanceEnd
	r.GuidanceStart, r.GuidanceEnd = 0, 0
	whole := &ensemble{}
	if err := whole.split(r, ends, specs, resolve); err != nil {
		return err
	}
	r.GuidancePerStep = whole.scales(start, end)
	*e = ensemble{experts: e.experts}
	if err := e.split(r, ends, specs, resolve); err != nil {
		return err
	}
	p := whole.parameters
	e.parameters.Guidance, e.parameters.GuidancePerStep = p.Guidance, p.GuidancePerStep
	e.parameters.GuidanceStart, e.parameters.GuidanceEnd = start, end
	return nil
}

// scales are those of the steps of all experts, up to 1 outside of an interval.
func (e *ensemble) scales(start, end float64) (all []float64) {
	for i, part := range e.resolved {
		all = all[:e.before[i]] // a step that the expert before leaves half done
		for k := 0; k < len(part.guidance); k += part.order() {
			all = append(all, part.guidance[k])
		}
	}
	first, last := insideInterval(start, end, len(all))
	for i := range all {
		if i < first || i >= last {
			all[i] = min(all[i], 1)
		}
	}
	return all
}
