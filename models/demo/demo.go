//go:build !nodemo

package demo

import (
	"embed"
	"io/fs"
)

//go:embed base
var files embed.FS

// Base is the model, a folder in diffusers layout; nil in a build without it.
func Base() fs.FS {
	f, err := fs.Sub(files, "base")
	if err != nil {
		panic(err) // the name is a constant that embedding checked
	}
	return f
}
