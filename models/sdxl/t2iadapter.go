package sdxl

import (
	"context"
	"fmt"
	"image"

	"github.com/goxl/goxl/nn"
)

// adapterFeatures computes what the request's T2I-Adapters add to the UNet, scaled and added up: one tensor [1, H, W,
// C] a level. It is nil for none. They do not depend on the step.
func (m *Model) adapterFeatures(ctx context.Context, q *resolved) ([]*Tensor, error) {
	var sum []*Tensor
	for i, a := range q.request.T2IAdapters {
		a.Image = q.placed(a.Image, a.Resize)
		features, err := m.featuresOf(ctx, a, q.size)
		if err != nil {
			return nil, err
		}
		scale := float32(q.T2IAdapters[i].Scale)
		for k, f := range features {
			if i == 0 {
				sum = append(sum, nn.NewTensor(f.Shape...))
			}
			for j, v := range f.Data {
				sum[k].Data[j] += scale * v
			}
		}
	}
	return sum, nil
}

func (m *Model) featuresOf(ctx context.Context, a T2IAdapter, size Size) ([]*Tensor, error) {
	handle, err := m.openAdapter(a.Path, size)
	if err != nil {
		return nil, badFile(adaptersField, a.Path, "a T2I-Adapter for this model", err)
	}
	defer handle.release()
	if err := m.Spec().fitsAdapter(handle.adapter.Config, size); err != nil { // one that was open is not checked for the size
		return nil, badFile(adaptersField, a.Path, "a T2I-Adapter for this model", err)
	}
	values := hintValues(a.Image, size)
	if handle.adapter.Config.Channels == 1 {
		values = greyValues(a.Image, size)
	}
	features, err := handle.adapter.Features(ctx, values, size.Height, size.Width)
	if err != nil {
		return nil, fmt.Errorf("T2I-Adapter %s: %w", controlName(a.Path), err)
	}
	return features, m.host.memory.done(ctx, handle.network())
}

// greyValues are an image's luminances in 0…1 at a size, as Pillow's convert("L") has them.
func greyValues(img image.Image, size Size) []float32 {
	n := toNRGBA(img)
	grey := image.NewNRGBA(n.Bounds())
	for i := 0; i < len(n.Pix); i += 4 {
		r, g, b := uint32(n.Pix[i]), uint32(n.Pix[i+1]), uint32(n.Pix[i+2])
		l := uint8((19595*r + 38470*g + 7471*b + 0x8000) >> 16)
		copy(grey.Pix[i:], []uint8{l, l, l, 0xff})
	}
	grey = atSize(grey, size)
	out := make([]float32, 0, size.Width*size.Height)
	for y := range size.Height {
		for x := range size.Width {
			out = append(out, float32(grey.Pix[y*grey.Stride+4*x])/255)
		}
	}
	return out
}
