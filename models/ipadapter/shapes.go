package ipadapter

import "fmt"

// Shapes are the tensors of a file of this configuration, under the names that h94/IP-Adapter's files have.
func Shapes(c Config) map[string][]int {
	shapes := map[string][]int{}
	norm := func(name string, n int) {
		shapes[projectionPrefix+name+".weight"], shapes[projectionPrefix+name+".bias"] = []int{n}, []int{n}
	}
	linear := func(name string, in, out int, bias bool) {
		shapes[projectionPrefix+name+".weight"] = []int{out, in}
		if bias {
			shapes[projectionPrefix+name+".bias"] = []int{out}
		}
	}
	if c.Plus {
		inner := c.Heads * headSize
		shapes[projectionPrefix+"latents"] = []int{1, c.Tokens, c.Hidden}
		linear("proj_in", c.Width, c.Hidden, true)
		linear("proj_out", c.Hidden, c.Context, true)
		norm("norm_out", c.Context)
		for i := range c.Depth {
			layer := fmt.Sprintf("layers.%d.", i)
			norm(layer+"0.norm1", c.Hidden)
			norm(layer+"0.norm2", c.Hidden)
			linear(layer+"0.to_q", c.Hidden, inner, false)
			linear(layer+"0.to_kv", c.Hidden, 2*inner, false)
			linear(layer+"0.to_out", inner, c.Hidden, false)
			norm(layer+"1.0", c.Hidden)
			linear(layer+"1.1", c.Hidden, c.Intermediate, false)
			linear(layer+"1.3", c.Intermediate, c.Hidden, false)
		}
	} else {
		linear("proj", c.Width, c.Tokens*c.Context, true)
		norm("norm", c.Context)
	}
	for i, channels := range c.Layers {
		for _, name := range []string{"to_k_ip", "to_v_ip"} {
			shapes[fmt.Sprintf("%s%d.%s.weight", layerPrefix, 2*i+1, name)] = []int{channels, c.Context}
		}
	}
	return shapes
}
