package sdxl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// DescribeControl says in words what kind of ControlNet a folder or a file holds. The error is one that no SDXL can be
// steered by.
func DescribeControl(path string) (text string, err error) {
	files, err := openSideFiles(path, weights.Variant{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, files.weights.Close()) }()
	o, err := files.control(nil)
	switch {
	case err != nil:
		return "", err
	case o.based && len(o.products) > 0:
		return fmt.Sprintf("a Control-LoRA, which changes %d tensors of the model's own UNet", len(o.products)), nil
	case o.based:
		return "differences to the weights of the model's own UNet", nil
	}
	return describeControl(o.config), nil
}

func describeControl(c controlnet.Config) string {
	size := "full"
	switch {
	case !c.ReadsText():
		size = "small: without attention"
	case strings.HasPrefix(c.UNet.DownBlockTypes[0], "CrossAttn"):
	case len(c.UNet.DownBlockTypes) > 1 && !strings.HasPrefix(c.UNet.DownBlockTypes[1], "CrossAttn"):
		size = "mid: attention at the lowest level alone"
	}
	if c.Union() {
		size = fmt.Sprintf("union of %d kinds of control images", c.ControlTypes)
	}
	return fmt.Sprintf("%s, of models whose prompt embeddings are %d wide, %d parameters", size, c.UNet.Context(), nn.Parameters(controlnet.New(c)))
}
