package taesd

import (
	"image"

	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
)

// Tiles overlap by an eighth. Source: diffusers models/autoencoders/autoencoder_tiny.py, tile_overlap_factor,
// _tiled_encode and _tiled_decode. Its scale between pixels and latents, 2 to the power of the output's channels, is
// right for a factor of 8 alone; here it is the scale factor.
const overlap = 0.125

// blend is the width of the strip in which neighbours of a size are mixed.
func blend(size int) int { return int(float64(size) * overlap) }

// tiles reports whether an image of so many pixels is encoded and decoded in parts.
func (a *Autoencoder) tiles(height, width int) bool {
	return a.Tile > 0 && (height > a.Tile || width > a.Tile)
}

// Program compiles what DecodeImage, or Encode, runs on its largest tile for an image of height×width pixels, so that its
// footprint can be asked for.
func (a *Autoencoder) Program(decode bool, height, width int) (*nn.Program, error) {
	if a.Tile > 0 {
		height, width = min(height, a.Tile), min(width, a.Tile)
	}
	return a.Network.Program(a.stage(decode, height, width))
}

// Graph states the decoder, or the encoder, for a whole image of height×width pixels.
func (a *Autoencoder) Graph(decode bool, height, width int) func(*nn.Builder) {
	_, build := a.stage(decode, height, width)
	return build
}

// Buffers is how much host memory decoding an image of height×width pixels takes beside the programs', in bytes: the
// image's pixels, and its values where tiles of them are joined, or where the caller wants values.
func (a *Autoencoder) Buffers(values bool, height, width int) int64 {
	pixels := int64(height) * int64(width)
	bytes, value := 4*pixels, 4*int64(a.Config.OutChannels)
	if a.tiles(height, width) {
		bytes += value * int64(min(height, a.Tile)) * int64(min(width, a.Tile)) // a tile
		values = true
	}
	if values {
		bytes += value * pixels
	}
	return bytes
}

// tiled puts tiles of an image, of size a side, into out: each is laid over what is there, by a ramp over extent rows
// and columns but for the first ones. f gives a tile's result and where in out it begins.
func tiled(out vae.Image, height, width, size, extent int, f func(tile image.Rectangle) (vae.Image, image.Point, error)) error {
	stride := size - blend(size)
	for y := 0; y < height; y += stride {
		for x := 0; x < width; x += stride {
			tile, at, err := f(image.Rect(x, y, min(x+size, width), min(y+size, height)))
			if err != nil {
				return err
			}
			lay(out, tile, at, extent)
		}
	}
	return nil
}

// lay mixes a tile into p from a point on.
func lay(p, tile vae.Image, at image.Point, extent int) {
	c := p.Channels
	ramp := func(i, first int) float32 {
		if first == 0 || i >= extent-1 {
			return 1
		}
		return float32(i) / float32(extent-1)
	}
	for y := range tile.Height {
		down := ramp(y, at.Y)
		to := p.Data[((at.Y+y)*p.Width+at.X)*c:]
		from := tile.Data[y*tile.Width*c:][:tile.Width*c]
		for i, v := range from {
			m := down * ramp(i/c, at.X)
			if m == 1 {
				to[i] = v
				continue
			}
			to[i] = float32(m*v) + float32((1-m)*to[i])
		}
	}
}

// crop is a part of p: p itself if that is all of it, else a copy.
func crop(p vae.Image, part image.Rectangle) vae.Image {
	if part == image.Rect(0, 0, p.Width, p.Height) {
		return p
	}
	out := vae.NewImage(part.Dy(), part.Dx(), p.Channels)
	n := out.Width * p.Channels
	for r := range out.Height {
		copy(out.Data[r*n:(r+1)*n], p.Data[((part.Min.Y+r)*p.Width+part.Min.X)*p.Channels:])
	}
	return out
}
