package main

import (
	"fmt"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// embedded inspects the model that is built in, and its refiner.
func (i *inspection) embedded() [][2]string {
	facts := [][2]string{{"kind", "the model that is built in: " + cli.DemoIs}}
	base := i.open(cli.Demo)
	if base == nil {
		return facts
	}
	facts = append(facts, base...)
	refiner, err := i.embeddedRefiner()
	if err != nil {
		i.problem(fmt.Errorf("its refiner: %w", err))
		return facts
	}
	return append(facts, [2]string{"its refiner", fmt.Sprintf("%s parameters, some of them the base's (goxl refine, goxl generate -refiner demo)", count(refiner.Parameters))})
}

func (i *inspection) embeddedRefiner() (info sdxl.Info, err error) {
	base, err := cli.ReadSpec(cli.Demo, nil, nil)
	if err != nil {
		return info, err
	}
	refiner, err := cli.ReadSpec(cli.Demo, base, nil)
	if err != nil {
		return info, err
	}
	return refiner.Info(), nil
}
