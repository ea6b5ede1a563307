package scheduler

import "testing"

// A schedule calls the model as often as is said, but for what its end saves.
func TestCallsPerStep(t *testing.T) {
	const steps = 20
	stored, err := Parse([]byte(`{"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		c, err := stored.As(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Schedule(Options{Steps: steps})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		calls := CallsPerStep(name)
		more := 0
		if c.Class == PNDM {
			more = rungeKuttaCalls - 3 // its first three steps have four each
		}
		if n := len(s.Steps); n > calls*steps+more || n < calls*steps-2 {
			t.Errorf("%s: %d calls in %d steps, said to be %d each", name, n, steps, calls)
		}
		if of := CallsPerStep(c.Class); of != calls {
			t.Errorf("%s: %d, its class %s %d", name, calls, c.Class, of)
		}
	}
	if n := CallsPerStep("heun_karras"); n != 2 {
		t.Errorf("heun_karras: %d, want 2", n)
	}
	if n := CallsPerStep("IPNDMScheduler"); n != 1 {
		t.Errorf("a class that is not here: %d, want 1", n)
	}
}
