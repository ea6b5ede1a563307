package main

import (
	"github.com/goxl/goxl/models/esrgan"
)

// upscaler says what an upscaler's shapes tell, once it has been opened as upscale does.
func (i *inspection) upscaler(path string) [][2]string {
	u, err := (&upscaling{model: path}).open(i.device, 0)
	if err != nil {
		i.problem(err)
		return nil
	}
	c := u.Config
	if err := u.Close(); err != nil {
		i.problem(err)
	}
	return [][2]string{{"network", c.String()}, {"parameters", count(parameters(c))}}
}

// parameters counts the numbers of a network.
func parameters(c esrgan.Config) (n int64) {
	for _, shape := range c.Shapes() {
		size := int64(1)
		for _, d := range shape {
			size *= int64(d)
		}
		n += size
	}
	return n
}
