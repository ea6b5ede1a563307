//go:build !nodemo

package demo

import (
	"embed"
	"io/fs"
)

//go:embed base refiner
var files embed.FS

// Base is the model, a folder in diffusers layout; nil in a build without it.
func Base() fs.FS { return folder("base") }

// Refiner is the base's refiner, a folder in diffusers layout without what it uses of the base: second text encoder,
// its tokenizer, and VAE. It is nil in a build without it.
func Refiner() fs.FS { return folder("refiner") }

func folder(name string) fs.FS {
	f, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // the name is a constant that embedding checked
	}
	return f
}
