package sdxl_test

import (
	"context"
	"fmt"
	"log"

	"github.com/goxl/goxl/models/sdxl"
)

// Another setting of the model's scheduler: distilled models want trailing timesteps.
func ExampleModel_scheduler() {
	ctx := context.Background()
	model, done := openTiny(sdxl.Options{})
	defer done()
	for _, spacing := range []string{"leading", "trailing"} {
		var err error
		if model.Scheduler, err = model.Scheduler.With(map[string]any{"timestep_spacing": spacing}); err != nil {
			log.Fatal(err)
		}
		run, err := model.Start(ctx, sdxl.Request{Prompt: "a red apple", Steps: 4})
		if err != nil {
			log.Fatal(err)
		}
		for _, step := range run.Schedule().Steps {
			fmt.Print(step.Timestep, " ")
		}
		fmt.Println(spacing)
		run.Close()
	}
	// Output:
	// 751 501 251 1 leading
	// 999 749 499 249 trailing
}
