package sdxl

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/goxl/goxl/models/vae"
)

// OpenRefiner loads a refiner for pictures of p. Encoder 2 and VAE are p's where the refiner's folder lacks them or holds the same. Close it before p.
func (p *Pipeline) OpenRefiner(path string) (*Pipeline, error) {
	return p.openRefiner(path, func(o Options) (*store, error) { return openStore(path, o) })
}

// OpenRefinerFS is OpenRefiner from a file system; see OpenFS.
func (p *Pipeline) OpenRefinerFS(fsys fs.FS, name string) (*Pipeline, error) {
	return p.openRefiner(name, func(Options) (*store, error) { return openFSStore(fsys, name) })
}

func (p *Pipeline) openRefiner(path string, files func(Options) (*store, error)) (*Pipeline, error) {
	r, err := open(path, p.options, p, files)
	if err != nil {
		return nil, err
	}
	if r.timeIDs != 5 {
		err := fmt.Errorf("the model is a base: a refiner's UNet is told 5 sizes, this one %d", r.timeIDs)
		return nil, &ModelError{path, errors.Join(err, r.Close())}
	}
	if err := p.sameLatents(r); err != nil {
		return nil, &ModelError{path, errors.Join(err, r.Close())}
	}
	return r, nil
}

// sameLatents checks that a refiner can go on with p's latents. VAEs of other weights may do: published ones differ in details.
func (p *Pipeline) sameLatents(r *Pipeline) error {
	ours, its := p.vae.Config, r.vae.Config
	kind := func(c vae.Config) string {
		s := fmt.Sprintf("%d channels for %d×%d pixels, scaled by %v", c.LatentChannels, c.ScaleFactor(), c.ScaleFactor(), c.ScalingFactor)
		if c.LatentsMean != nil {
			s += fmt.Sprintf(" after mean %v, deviation %v", c.LatentsMean, c.LatentsStd)
		}
		return s
	}
	if got, want := kind(its), kind(ours); got != want {
		return fmt.Errorf("this refiner does not belong to the base %s: its latents have %s; the base's have %s", p.path, got, want)
	}
	return nil
}
