package t2iadapter

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// originalBlock is a module of a file in the original names, whose residual blocks are one list.
var originalBlock = regexp.MustCompile(`^body\.(\d+)\.(block1|block2|in_conv)\.(.*)$`)

// Named is a checkpoint's tensors under diffusers' names, whatever names it has: those, the same without "adapter.", or
// the original ones, whose residual blocks are one list, two a level.
func Named(src kernels.Source) kernels.Source {
	names := src.Names()
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "adapter.") }) {
		return src
	}
	flat := !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, ".resnets.") })
	return weights.Rename(src, func(name string) string {
		m := originalBlock.FindStringSubmatch(name)
		if m == nil || !flat {
			return "adapter." + name
		}
		n, err := strconv.Atoi(m[1])
		switch {
		case err != nil:
			return "" // no module has so large a number
		case m[2] == "in_conv":
			return fmt.Sprintf("adapter.body.%d.in_conv.%s", n/XL.ResBlocks, m[3])
		}
		return fmt.Sprintf("adapter.body.%d.resnets.%d.%s.%s", n/XL.ResBlocks, n%XL.ResBlocks, m[2], m[3])
	})
}

// Detect reads the configuration of a checkpoint under diffusers' names from its shapes.
func Detect(src kernels.Source) (Config, error) {
	c := XL
	dim := func(name string, axis int) int {
		_, shape, err := src.Describe(name)
		if err != nil || axis >= len(shape) {
			return 0
		}
		return shape[axis]
	}
	in := dim("adapter.conv_in.weight", 1)
	switch in {
	case 3 * 16 * 16, 16 * 16:
		c.Channels = in / 256
	default:
		return c, fmt.Errorf("adapter.conv_in.weight reads %d channels: must be 768, or 256 of a grey image, as SDXL's T2I-Adapters'", in)
	}
	c.Widths = nil
	for i := range 4 {
		c.Widths = append(c.Widths, dim(fmt.Sprintf("adapter.body.%d.resnets.0.block1.weight", i), 0))
	}
	return c, c.validate("its tensors")
}
