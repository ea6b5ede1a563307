package sdxl

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
)

// residualInputs declares what ControlNets give a step for a part of the positive side; nil without.
func residualInputs(b *nn.Builder, u *unet.Denoiser, s shape, batch, part int) (list []*nn.Value) {
	if !s.residuals {
		return nil
	}
	for i, r := range u.Config.Residuals(s.height, s.width) {
		list = append(list, b.Input(s.named(controlnet.ResidualName(i), part), kernels.Step, kernels.F32, batch, r[0], r[1], r[2]))
	}
	return list
}

func featureName(i int) string { return fmt.Sprintf("features %d", i) }

// featureInputs declares what T2I-Adapters give a step, the same for every image and side of guidance; nil without.
func featureInputs(b *nn.Builder, u *unet.Denoiser, s shape, batch int) (list []*nn.Value) {
	if !s.features {
		return nil
	}
	one := b.Input(s.named("one", 0), kernels.Request, kernels.F32, 1)
	for i, f := range u.Config.Features(s.height, s.width) {
		list = append(list, b.ScaleRepeat(b.Input(s.named(featureName(i), 0), kernels.Request, kernels.F32, 1, f[0], f[1], f[2]), one, batch))
	}
	return list
}

// setFeatures writes them.
func setFeatures(p *nn.Program, s shape, features []*Tensor) error {
	if !s.features {
		return nil
	}
	if err := p.SetFloats(s.named("one", 0), 1); err != nil {
		return err
	}
	for i, f := range features {
		if err := p.SetFloats(s.named(featureName(i), 0), f.Data...); err != nil {
			return err
		}
	}
	return nil
}
