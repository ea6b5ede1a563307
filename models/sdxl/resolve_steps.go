package sdxl

import (
	"fmt"
	"strings"

	"github.com/goxl/goxl/scheduler"
)

// noStepWarning warns of a run whose fraction of the steps holds none.
func (s *Spec) noStepWarning(q *resolved) string {
	var cuts []string
	if q.DenoisingStart > 0 {
		cuts = append(cuts, fmt.Sprintf("denoising_start %v", q.DenoisingStart))
	}
	if q.DenoisingEnd > 0 {
		cuts = append(cuts, fmt.Sprintf("denoising_end %v", q.DenoisingEnd))
	}
	model := "the base"
	if s.refiner() {
		model = "the refiner"
	}
	return fmt.Sprintf("%s has no step to do: with %s no timestep falls to it; the latents are passed on as they are", model, strings.Join(cuts, " and "))
}

// enoughSteps says which number of steps would leave one to run.
func enoughSteps(o scheduler.Options) string {
	if o.Strength > 0 && int(float64(o.Steps)*o.Strength) == 0 {
		n := o.Steps
		for int(float64(n)*o.Strength) == 0 {
			n++
		}
		return fmt.Sprintf("at least %d, so that strength %v leaves one to run", n, o.Strength)
	}
	return "a number of steps that the scheduler supports"
}
