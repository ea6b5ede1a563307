//go:build nodemo

package demo

import "io/fs"

// Base is nil: this build leaves the model out.
func Base() fs.FS { return nil }

// Refiner is nil as well.
func Refiner() fs.FS { return nil }
