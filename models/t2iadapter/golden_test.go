package t2iadapter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/t2iadapter"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestGoldens compares features of an image whose halved levels have an odd edge with diffusers.
func TestGoldens(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	g := golden.Open(t, "../../testdata/goldens/t2iadapter.safetensors")
	var nets map[string]struct {
		Config    json.RawMessage
		Component string
	}
	if err := json.Unmarshal([]byte(g.Metadata["nets"]), &nets); err != nil {
		t.Fatal(err)
	}
	for name, net := range nets {
		c, err := t2iadapter.ParseConfig(net.Config, name)
		if err != nil {
			t.Fatal(err)
		}
		src := weights.Synthetic(net.Component, nn.Shapes(t2iadapter.New(c)), kernels.F32)
		if err := c.Fits(src, name); err != nil {
			t.Fatal(err)
		}
		a, err := t2iadapter.Open(dev, src, c, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		x, s := g.Floats("call." + name + ".x")
		features, err := a.Features(context.Background(), golden.ChannelsLast(x, s), s[2], s[3])
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range features {
			want, s := g.Floats(fmt.Sprintf("call.%s.%d", name, i))
			golden.Near(t, fmt.Sprintf("%s %d", name, i), f.Data, golden.ChannelsLast(want, s), 1e-5)
		}
		if _, err := a.Features(context.Background(), golden.ChannelsLast(x, s), s[2], s[3]-1); err == nil {
			t.Error("an image of another size than its values passes")
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNames: the names of a checkpoint, without their prefix and in the original list of blocks, stand for the same
// tensors, and their shapes tell the configuration.
func TestNames(t *testing.T) {
	c := t2iadapter.XL
	shapes := nn.Shapes(t2iadapter.New(c))
	original := map[string][]int{}
	short := map[string][]int{}
	for name, shape := range shapes {
		rest := strings.TrimPrefix(name, "adapter.")
		short[rest] = shape
		var i, j int
		var tail string
		switch {
		case strings.Contains(rest, "resnets"):
			fmt.Sscanf(rest, "body.%d.resnets.%d.%s", &i, &j, &tail)
			rest = fmt.Sprintf("body.%d.%s", 2*i+j, tail)
		case strings.Contains(rest, "in_conv"):
			fmt.Sscanf(rest, "body.%d.%s", &i, &tail)
			rest = fmt.Sprintf("body.%d.%s", 2*i, tail)
		}
		original[rest] = shape
	}
	for what, list := range map[string]map[string][]int{"diffusers": shapes, "short": short, "original": original} {
		src := t2iadapter.Named(weights.Synthetic("t2iadapter", list, kernels.F16))
		if _, err := nn.Bind(t2iadapter.New(c), src); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		got, err := t2iadapter.Detect(src)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
			t.Errorf("%s: configuration %+v, error %v", what, got, err)
		}
	}
}

// TestConfigs are those that are no adapter of SDXL's.
func TestConfigs(t *testing.T) {
	for config, want := range map[string]string{
		`{"_class_name": "T2IAdapter", "adapter_type": "full_adapter"}`:                                        "Stable Diffusion 1",
		`{"_class_name": "T2IAdapter", "adapter_type": "light_adapter"}`:                                       "full_adapter_xl",
		`{"_class_name": "ControlNetModel"}`:                                                                   "T2IAdapter",
		`{"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl", "in_channels": 4}`:                   "3, or 1",
		`{"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl", "channels": [320, 640, 1280]}`:       "four",
		`{"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl", "channels": [320, 640, 1280, 1281]}`: "alike",
		`{"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl", "num_res_blocks": -1}`:               "0 to",
	} {
		if _, err := t2iadapter.ParseConfig([]byte(config), "config.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", config, err, want)
		}
	}
}
