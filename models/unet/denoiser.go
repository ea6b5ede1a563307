package unet

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Predictor is a network that denoises: a Model, or one of your own put together from this package's blocks. It is a
// module as nn.Bind takes it: a pointer to a struct whose fields are tagged with the checkpoint's names. One that only
// applies the modules of another, which was bound, needs no tags.
type Predictor interface {
	// Forward states the prediction, noise or v, [B, H, W, out channels].
	Forward(b *nn.Builder, in Inputs) *nn.Value
}

// Denoiser is a UNet on a device. It is used by one goroutine at a time.
//
// Another Denoiser of the same Network and Config can have a Model of your own that states the computation with the
// modules of this one's, on the weights that are there: a *Model's fields are its blocks, and its Embed is what they are
// conditioned on.
type Denoiser struct {
	*nn.Network
	Config    Config
	Unclaimed []string  // tensors of the checkpoint that the model does not have
	Model     Predictor // states the network's programs; comparable, and not changed
}

// Open binds a checkpoint, which the configuration fits, and puts it on the device.
func Open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options) (*Denoiser, error) {
	return OpenModel(dev, src, c, New(c), o)
}

// OpenModel is Open of a model of your own. The configuration says what the model takes and gives, for those that run
// it: channels, the widths of text and embeddings, and the time ids.
func OpenModel(dev kernels.Device, src kernels.Source, c Config, m Predictor, o kernels.Options) (*Denoiser, error) {
	bound, err := nn.Bind(m, src)
	if err != nil {
		return nil, err
	}
	n, err := nn.NewNetwork(dev, bound, o)
	if err != nil {
		return nil, err
	}
	return &Denoiser{Network: n, Config: c, Unclaimed: bound.Unclaimed, Model: m}, nil
}
