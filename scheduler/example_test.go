package scheduler_test

import (
	"fmt"
	"log"

	"github.com/goxl/goxl/scheduler"
)

// A sampling loop on one latent value, with a model that always predicts the noise as 0.5.
func Example() {
	stored := []byte(`{"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085,
		"beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1, "timestep_spacing": "leading"}`)
	cfg, err := scheduler.Parse(stored)
	if err != nil {
		log.Fatal(err)
	}
	cfg, err = cfg.As("dpmpp_2m_karras")
	if err != nil {
		log.Fatal(err)
	}
	schedule, err := cfg.Schedule(scheduler.Options{Steps: 4})
	if err != nil {
		log.Fatal(err)
	}

	x := make([]float32, 1)
	scheduler.NewGenerator(42).Randn(x)
	x[0] *= float32(schedule.InitNoiseSigma)
	model := func(x float32, timestep float64) float32 { return 0.5 }
	noise, history := make([]float32, 1), make([][]float32, schedule.History)
	for i := range history {
		history[i] = make([]float32, 1)
	}
	for i := range schedule.Steps {
		step := &schedule.Steps[i]
		m := model(x[0]*float32(step.InputScale), step.Timestep)
		if err := step.Apply(x, []float32{m}, noise, history); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("timestep %3.0f: %.3f\n", step.Timestep, x[0])
	}
	// Output:
	// timestep 999: -0.238
	// timestep 687: -1.964
	// timestep 146: -2.360
	// timestep   0: -2.375
}
