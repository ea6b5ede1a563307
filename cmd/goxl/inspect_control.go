package main

import (
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// control says what kind of ControlNet a path holds; nothing of what is none.
func (i *inspection) control(path string, kind weights.Kind) [][2]string {
	if kind.Family != weights.ControlNet {
		return nil
	}
	text, err := sdxl.DescribeControl(path)
	if err != nil {
		i.problem(err)
		return nil
	}
	return [][2]string{{"ControlNet", text}}
}
