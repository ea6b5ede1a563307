package vae

import (
	"image"

	"github.com/goxl/goxl/nn"
)

// Tiles overlap by a quarter. Source: diffusers models/autoencoders/autoencoder_kl.py, tile_overlap_factor,
// _tiled_encode and tiled_decode.
const overlap = 0.25

// stride is the distance between tiles of a size.
func stride(size int) int { return int(float64(size) * (1 - overlap)) }

// blend is the width of the strip in which neighbours of a size are mixed.
func blend(size int) int { return int(float64(size) * overlap) }

// Program compiles what DecodeImage, or EncodeImage, runs on its largest tile for an image of height×width pixels, so
// that its footprint can be asked for.
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

func (a *Autoencoder) stage(decode bool, height, width int) (key string, build func(*nn.Builder)) {
	if decode {
		f := a.Config.ScaleFactor()
		return a.decoding(height/f, width/f)
	}
	return a.encoding(height, width)
}

// Buffers is how much host memory working on an image of height×width pixels takes beside the programs', in bytes: the
// image's pixels, and its values where tiles of them are joined, or where the caller wants values.
func (a *Autoencoder) Buffers(decode, values bool, height, width int) int64 {
	const pixel = 4
	bytes := pixel * int64(height) * int64(width)
	if !decode {
		return bytes // moments are few
	}
	value := 4 * int64(a.Config.OutChannels)
	if a.tiles(height, width) {
		bytes += 2 * value * int64(min(height, a.Tile)) * int64(width) * int64(a.Tile) / int64(stride(a.Tile)) // two rows of tiles
		values = true
	}
	if values {
		bytes += value * int64(height) * int64(width)
	}
	return bytes
}

// tiled maps tiles of an image, of size a side, and joins the results in out: each is mixed over extent with the one
// above, then with the one to the left, which are mixed already, and limit rows and columns of it are kept.
func tiled(out Image, height, width, size, extent, limit int, f func(tile image.Rectangle) (Image, error)) (Image, error) {
	var above []Image
	rows := 0 // of out that are done
	for y := 0; y < height; y += stride(size) {
		var row []Image
		for x := 0; x < width; x += stride(size) {
			tile, err := f(image.Rect(x, y, min(x+size, width), min(y+size, height)))
			if err != nil {
				return Image{}, err
			}
			if len(above) > 0 {
				tile.blendAbove(above[len(row)], extent)
			}
			if len(row) > 0 {
				tile.blendLeft(row[len(row)-1], extent)
			}
			row = append(row, tile)
		}
		rows += out.place(rows, row, limit)
		above = row
	}
	return out, nil
}

// crop is a part of p: p itself if that is all of it, else a copy.
func (p Image) crop(part image.Rectangle) Image {
	if part == image.Rect(0, 0, p.Width, p.Height) {
		return p
	}
	out := NewImage(part.Dy(), part.Dx(), p.Channels)
	n := out.Width * p.Channels
	for r := range out.Height {
		copy(out.Data[r*n:(r+1)*n], p.Data[((part.Min.Y+r)*p.Width+part.Min.X)*p.Channels:])
	}
	return out
}

// place copies tiles from left to right, cropped to limit a side, to the rows from first on, and returns how many rows
// those are.
func (p Image) place(first int, tiles []Image, limit int) int {
	height := min(tiles[0].Height, limit)
	for r := range height {
		to := p.Data[(first+r)*p.Width*p.Channels:]
		for _, t := range tiles {
			n := min(t.Width, limit) * t.Channels
			copy(to[:n], t.Data[r*t.Width*t.Channels:])
			to = to[n:]
		}
	}
	return height
}

// blendAbove mixes the first rows of p with the last of a, the tile above.
func (p Image) blendAbove(a Image, extent int) {
	extent = min(a.Height, p.Height, extent)
	n := p.Width * p.Channels
	for y := range extent {
		mix(p.Data[y*n:(y+1)*n], a.Data[(a.Height-extent+y)*n:], float64(y)/float64(extent))
	}
}

// blendLeft mixes the first columns of p with the last of a, the tile to the left.
func (p Image) blendLeft(a Image, extent int) {
	extent = min(a.Width, p.Width, extent)
	c := p.Channels
	for y := range p.Height {
		for x := range extent {
			mix(p.Data[(y*p.Width+x)*c:(y*p.Width+x+1)*c], a.Data[(y*a.Width+a.Width-extent+x)*c:], float64(x)/float64(extent))
		}
	}
}

// mix is dst ← other·(1−t) + dst·t.
func mix(dst, other []float32, t float64) {
	u, v := float32(1-t), float32(t)
	for i := range dst {
		dst[i] = float32(other[i]*u) + float32(dst[i]*v)
	}
}
