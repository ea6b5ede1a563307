package sdxl

// ResultSize is the size of a run's images, of a request with such an image; the zero Size without one. Width and Height
// are those of the first pass, and with MaskPadding of the part that is computed.
func (p *Parameters) ResultSize(image Size) Size {
	switch {
	case p.Hires != nil:
		return Size{p.Hires.Height, p.Hires.Width}
	case p.MaskPadding != nil:
		return Size{p.Outpaint.Top + image.Height + p.Outpaint.Bottom, p.Outpaint.Left + image.Width + p.Outpaint.Right}
	}
	return Size{p.Height, p.Width}
}
