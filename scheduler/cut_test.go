package scheduler

import "testing"

// The cut-off 1000 - 1000*d is rounded half to even: 200.5 to 200, 201.5 to 202.
func TestCutOffRoundsHalfToEven(t *testing.T) {
	timesteps := []float64{999, 201, 200, 1}
	for _, c := range []struct {
		share float64
		after int // steps that a refiner runs
	}{{0.7995, 1}, {0.7985, 3}} {
		refiner, err := sdxl(t, "euler", nil).Schedule(Options{Timesteps: timesteps, DenoisingStart: c.share})
		if err != nil {
			t.Fatal(err)
		}
		base, err := sdxl(t, "euler", nil).Schedule(Options{Timesteps: timesteps, DenoisingEnd: c.share})
		if err != nil {
			t.Fatal(err)
		}
		if len(refiner.Steps) != c.after || len(base.Steps) != len(timesteps)-c.after {
			t.Errorf("share %v: base %d, refiner %d steps; want %d and %d", c.share, len(base.Steps), len(refiner.Steps),
				len(timesteps)-c.after, c.after)
		}
	}
}

// The published ensemble of experts: 40 steps, of which the base runs 32 and the refiner 8.
func TestEnsembleSplit(t *testing.T) {
	cfg := sdxl(t, "", nil)
	base, err := cfg.Schedule(Options{Steps: 40, DenoisingEnd: 0.8})
	if err != nil {
		t.Fatal(err)
	}
	refiner, err := cfg.Schedule(Options{Steps: 40, DenoisingStart: 0.8})
	if err != nil {
		t.Fatal(err)
	}
	if len(base.Steps) != 32 || len(refiner.Steps) != 8 || refiner.First != 32 {
		t.Errorf("base %d, refiner %d from %d", len(base.Steps), len(refiner.Steps), refiner.First)
	}
}
