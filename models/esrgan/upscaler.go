package esrgan

import (
	"context"
	"errors"
	"fmt"
	"image"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// Upscaler is a model on a device. It is used by one goroutine at a time.
type Upscaler struct {
	*nn.Network
	Config Config
	// Tile is the most pixels a side that are enlarged at once; 0 is the device's default. Overlap is what neighbours
	// share. A tile differs from the whole image near its borders, as far as convolutions reach; in what tiles share,
	// one goes over into the other.
	Tile, Overlap int

	model network
	host  bool // the device computes in the process's own memory
}

// File is a model and the file that it is read from.
type File struct {
	*Upscaler
	component *weights.Component
}

// OpenFile opens a safetensors file, or one that torch.save wrote (.pth), on a device.
func OpenFile(dev kernels.Device, path string, o kernels.Options) (*File, error) {
	c, err := weights.OpenComponent(path)
	if err != nil {
		return nil, err
	}
	u, err := Open(dev, c, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), c.Close())
	}
	return &File{u, c}, nil
}

// DescribeFile finds the configuration of such a file, as [Detect] does, without a device.
func DescribeFile(path string) (Config, error) {
	c, err := weights.OpenComponent(path)
	if err != nil {
		return Config{}, err
	}
	config, err := Detect(c)
	return config, errors.Join(err, c.Close())
}

// Close frees the model and closes the file.
func (f *File) Close() error { return errors.Join(f.Upscaler.Close(), f.component.Close()) }

// Open puts a checkpoint on a device. Names and sizes are those of [Detect]. Tensors that the network does not have are
// an error: they would change its result.
func Open(dev kernels.Device, src kernels.Source, o kernels.Options) (*Upscaler, error) {
	src = canonical(src)
	c, err := detect(src)
	if err != nil {
		return nil, err
	}
	model := newNetwork(c)
	bound, err := nn.Bind(model, &folded{src, c})
	if err != nil {
		return nil, err
	}
	if len(bound.Unclaimed) > 0 {
		return nil, fmt.Errorf("%d tensors are not of an %s: %s", len(bound.Unclaimed), c.Kind, nn.Shorten(bound.Unclaimed))
	}
	n, err := nn.NewNetwork(dev, bound, o)
	if err != nil {
		return nil, err
	}
	return &Upscaler{Network: n, Config: c, Overlap: DefaultOverlap, model: model, host: dev.Info().HostMemory}, nil
}

// MaxPixels is the largest result, in pixels.
const MaxPixels = 1 << 28

// mostValues is how many a tile has between two layers at most: devices count them in 31 bits.
const mostValues = 1<<31 - 1

// Upscale enlarges an image by the model's scale; its alpha is dropped, and the result is opaque. progress, if it is
// not nil, is called after each tile. Where the device's memory is too small for a tile, smaller ones are tried.
func (u *Upscaler) Upscale(ctx context.Context, img image.Image, progress func(done, tiles int)) (*image.NRGBA, error) {
	size, scale := img.Bounds().Size(), u.Config.Scale()
	if size.X < 1 || size.Y < 1 || int64(size.X)*int64(scale) > MaxPixels || int64(size.X)*int64(scale)*int64(size.Y)*int64(scale) > MaxPixels {
		return nil, fmt.Errorf("image of %d×%d pixels: must have at least 1 a side, and at most %d in all once it is %d times as large a side", size.X, size.Y, MaxPixels, scale)
	}
	tile := u.tile()
	if err := CheckTiles(tile, u.Overlap); err != nil {
		return nil, err
	}
	in := newPixels(img)
	for {
		out, err := u.tiled(ctx, in, tile, min(u.Overlap, tile/2), progress)
		if smaller := half(tile, size.X, size.Y); errors.Is(err, kernels.ErrMemory) && smaller >= Least {
			tile = smaller
			continue
		}
		return out, err
	}
}

// half is the tile that is tried behind one for which there is no memory, where it is not below Least.
func half(tile, width, height int) int { return min(tile, max(width, height)) / 2 }

// Smallest compiles the program of the smallest tiles that Upscale comes to, for want of memory, for an image of a size.
func (u *Upscaler) Smallest(width, height int) (*nn.Program, error) {
	tile := u.tile()
	for smaller := half(tile, width, height); smaller >= Least; smaller = half(tile, width, height) {
		tile = smaller
	}
	overlap, unit := min(u.Overlap, tile/2), u.Config.unit()
	key, build := u.stage(cut(height, tile, overlap, unit).size/unit, cut(width, tile, overlap, unit).size/unit)
	return u.Program(key, build)
}

// tile is the most pixels a side that are tried first.
func (u *Upscaler) tile() int {
	tile := u.Tile
	if tile == 0 {
		tile = DefaultTile
		if u.host {
			tile = DefaultHostTile
		}
	}
	scale := u.Config.Scale()
	for side := int64(tile * scale); side*side*int64(u.Config.Features) > mostValues && tile > Least; side = int64(tile * scale) {
		tile /= 2
	}
	return tile
}

// Tiles is in how many tiles an image of a size is enlarged, where the device's memory is large enough for those.
func (u *Upscaler) Tiles(width, height int) int {
	tile, unit := u.tile(), u.Config.unit()
	overlap := min(u.Overlap, tile/2)
	return len(cut(width, tile, overlap, unit).starts) * len(cut(height, tile, overlap, unit).starts)
}

// tiled enlarges an image in tiles, a row of them after the other. Values of what later rows may add to are kept, and no
// others.
func (u *Upscaler) tiled(ctx context.Context, in pixels, tile, overlap int, progress func(done, tiles int)) (*image.NRGBA, error) {
	scale := u.Config.Scale()
	across, down := cut(in.width, tile, overlap, u.Config.unit()), cut(in.height, tile, overlap, u.Config.unit())
	out := image.NewNRGBA(image.Rect(0, 0, in.width*scale, in.height*scale))
	band := newBand(across.total*scale, down.size*scale)
	values := make([]float32, 3*across.size*scale*down.size*scale)
	columns, rows := across.weights(scale), down.weights(scale)
	done, tiles := 0, len(across.starts)*len(down.starts)
	for j, y := range down.starts {
		for i, x := range across.starts {
			if err := u.enlarge(ctx, in, image.Rect(x, y, x+across.size, y+down.size), values); err != nil {
				return nil, err
			}
			band.add(values, x*scale, columns[i], rows[j], u.Config.Shuffle)
			if done++; progress != nil {
				progress(done, tiles)
			}
		}
		final := down.size // rows that no later tile adds to
		if j < len(down.starts)-1 {
			final = down.starts[j+1] - y
		}
		band.write(out, y*scale, final*scale)
	}
	return out, nil
}

// enlarge computes the values of one tile of an image, which may reach beyond its lower and right border.
func (u *Upscaler) enlarge(ctx context.Context, in pixels, part image.Rectangle, values []float32) error {
	unit := u.Config.unit()
	x := in.values(part, unit)
	key, build := u.stage(part.Dy()/unit, part.Dx()/unit)
	return u.Evaluate(ctx, key, build,
		func(p *nn.Program) error { return p.SetFloats("pixels", x...) },
		func(p *nn.Program) ([]float32, error) { return values, p.Floats(ctx, "values", values) })
}

// stage states the network for so many positions, under a key of its own.
func (u *Upscaler) stage(height, width int) (key string, build func(*nn.Builder)) {
	return fmt.Sprintf("esrgan %d×%d", height, width), func(b *nn.Builder) {
		x := b.Input("pixels", kernels.Step, kernels.F32, 1, height, width, u.Config.inputs())
		b.Output("values", u.model.forward(b, x))
	}
}
