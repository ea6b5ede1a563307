package scheduler

import "testing"

// Each name's config is named so again, whatever was stored before.
func TestName(t *testing.T) {
	for _, stored := range []string{`{"_class_name": "EulerDiscreteScheduler"}`, `{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}`} {
		c, err := Parse([]byte(stored))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range Names() {
			other, err := c.As(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := other.Name(); got != name {
				t.Errorf("%s is named %q", name, got)
			}
		}
	}
	for want, stored := range map[string]string{
		"dpmpp_2m_sde":    `{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}`,
		"dpmpp_2m_karras": `{"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": true}`,
		"":                `{"_class_name": "IPNDMScheduler"}`,
	} {
		c, err := Parse([]byte(stored))
		if got := c.Name(); err != nil || got != want {
			t.Errorf("%s is named %q, %v, want %q", stored, got, err, want)
		}
	}
}
