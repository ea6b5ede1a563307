package esrgan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// Kind is a network's architecture.
type Kind string

// The architectures.
const (
	RRDB  Kind = "RRDBNet"         // ESRGAN, Real-ESRGAN, BSRGAN and what is trained from them
	SRVGG Kind = "SRVGGNetCompact" // Real-ESRGAN's small models
)

// Config is what the shapes of a checkpoint say.
type Config struct {
	Kind      Kind
	Features  int // channels between the blocks
	Growth    int // channels that each convolution of a dense block adds; RRDB alone
	Blocks    int // of RRDB; of SRVGG, convolutions between the first and the last
	Doublings int // of the image behind the blocks, 0 to 3; RRDB alone
	Unshuffle int // pixels a side that are the channels of one input position: 1, 2 or 4; RRDB alone
	Shuffle   int // pixels a side that one output position's channels are; SRVGG alone
}

// Scale is how many times as wide and high the result is.
func (c Config) Scale() int {
	if c.Kind == SRVGG {
		return c.Shuffle
	}
	return 1 << c.Doublings / c.Unshuffle
}

// unit is what the sides of an image must be multiples of.
func (c Config) unit() int { return max(c.Unshuffle, 1) }

// inputs is how many channels the first convolution reads.
func (c Config) inputs() int { return 3 * c.unit() * c.unit() }

func (c Config) String() string {
	if c.Kind == SRVGG {
		return fmt.Sprintf("%s ×%d, %d features, %d convolutions", c.Kind, c.Scale(), c.Features, c.Blocks)
	}
	return fmt.Sprintf("%s ×%d, %d features, %d blocks", c.Kind, c.Scale(), c.Features, c.Blocks)
}

// Shapes are the tensors that a configuration has, under the names that [Detect] reads, for [weights.Synthetic].
func (c Config) Shapes() map[string][]int { return nn.Shapes(newNetwork(c)) }

// The sizes of published models: RealESRGAN_x4plus, and realesr-general-x4v3.
var (
	X4Plus    = Config{Kind: RRDB, Features: 64, Growth: 32, Blocks: 23, Doublings: 2, Unshuffle: 1}
	GeneralX4 = Config{Kind: SRVGG, Features: 64, Blocks: 32, Shuffle: 4}
)

const (
	maxFeatures = 1 << 10
	maxBlocks   = 1 << 8
	maxShuffle  = 8
)

// Detect finds the configuration of a checkpoint by its names, of any of the forms that files have, and shapes. What is
// no network of these architectures is an error that says what is missing.
func Detect(src kernels.Source) (Config, error) { return detect(canonical(src)) }

// Recognises reports whether the names are those of such a checkpoint.
func Recognises(src kernels.Source) bool {
	_, err := Detect(src)
	return err == nil
}

func detect(src kernels.Source) (Config, error) {
	names := src.Names()
	has := func(name string) bool { _, found := slices.BinarySearch(names, name); return found }
	dim := func(name string, axis, rank int) int {
		if _, shape, err := src.Describe(name); err == nil && len(shape) == rank {
			return shape[axis]
		}
		return 0
	}
	count := func(format string, step int) (n int) {
		for n <= 2*maxBlocks+2 && has(fmt.Sprintf(format, n*step)) {
			n++
		}
		return n
	}
	wrong := func(what string, value any, allowed string) error {
		return fmt.Errorf("must be an ESRGAN model: %s is %v: must be %s", what, value, allowed)
	}
	var c Config
	switch {
	case has("conv_first.weight") && has("body.0.rdb1.conv1.weight"):
		c = Config{Kind: RRDB, Features: dim("conv_first.weight", 0, 4), Growth: dim("body.0.rdb1.conv1.weight", 0, 4), Blocks: count("body.%d.rdb1.conv1.weight", 1)}
		for i := 1; has(fmt.Sprintf("conv_up%d.weight", i)); i++ {
			c.Doublings++
		}
		in := dim("conv_first.weight", 1, 4)
		for _, u := range []int{1, 2, 4} {
			if in == 3*u*u {
				c.Unshuffle = u
			}
		}
		switch {
		case c.Unshuffle == 0:
			return c, wrong("input channels", in, "3, or 12 or 48 with pixel unshuffle")
		case c.Doublings > 3 || 1<<c.Doublings < c.Unshuffle:
			return c, wrong("doublings", c.Doublings, "0 to 3, and no fewer than the pixel unshuffle undoes")
		case c.Growth < 1 || c.Growth > maxFeatures:
			return c, wrong("growth", c.Growth, fmt.Sprintf("1 to %d", maxFeatures))
		}
	case has("body.0.weight") && has("body.1.weight"):
		c = Config{Kind: SRVGG, Features: dim("body.0.weight", 0, 4), Blocks: count("body.%d.weight", 2) - 2}
		if dim("body.1.weight", 0, 1) == 0 {
			return c, errors.New("must be an ESRGAN model: body.1.weight is no PReLU, the one activation of SRVGGNetCompact that is known")
		}
		out := dim(fmt.Sprintf("body.%d.weight", 2*c.Blocks+2), 0, 4)
		for s := 1; s <= maxShuffle; s++ {
			if out == 3*s*s {
				c.Shuffle = s
			}
		}
		if c.Shuffle == 0 {
			return c, wrong("output channels", out, fmt.Sprintf("3·s², for a scale s of 1 to %d", maxShuffle))
		}
	default:
		return c, errors.New("must be an ESRGAN model: it has neither RRDBNet's first block (body.0.rdb1.conv1, RRDB_trunk.0.RDB1.conv1 or model.1.sub.0.RDB1.conv1.0) nor SRVGGNetCompact's (body.0, body.1)")
	}
	switch {
	case c.Features < 1 || c.Features > maxFeatures:
		return c, wrong("features", c.Features, fmt.Sprintf("1 to %d", maxFeatures))
	case c.Blocks < 0 || c.Blocks > maxBlocks:
		return c, wrong("blocks", c.Blocks, fmt.Sprintf("at most %d", maxBlocks))
	}
	return c, nil
}

// Synthetic is a checkpoint of a configuration with random (deterministic) weights; tools/reference/esrgan.py makes the
// same.
func Synthetic(c Config, dtype kernels.DType) *weights.SyntheticSource {
	return weights.Synthetic("esrgan", c.Shapes(), dtype)
}

// Synthesise writes such a checkpoint as a safetensors file.
func Synthesise(c Config, dtype kernels.DType, file string) error {
	tensors, err := weights.Tensors(Synthetic(c, dtype))
	if err != nil {
		return err
	}
	return weights.Write(file, tensors, map[string]string{"format": "pt"})
}
