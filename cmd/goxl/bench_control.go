package main

import "github.com/goxl/goxl/models/sdxl"

// addControl is -control of bench.
func (b *bench) addControl(s string) error {
	path, numbers, err := pathAndNumbers(s, 1)
	if err != nil {
		return err
	}
	c := sdxl.Control{Path: path}
	if len(numbers) > 0 {
		c.Scale = &numbers[0]
	}
	b.controls = append(b.controls, c)
	return nil
}
