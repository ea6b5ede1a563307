package kernels

// ToPixels rounds an image's values, −1…1, to bytes: v = clamp(x/2 + ½, 0, 1) and 255·v, both in float32, half to even;
// alpha is 255. Bytes do not show NaN and infinities: who needs to know looks at x. Source: diffusers
// image_processor.py, VaeImageProcessor.postprocess and numpy_to_pil.
//
// Input: x [B, H, W, 3]. Output: U8 [B, H, W, 4], red, green, blue, alpha.
type ToPixels struct{}

// Infer implements Spec.
func (s ToPixels) Infer(in []Tensor) ([]Tensor, error) {
	const op = "ToPixels"
	if err := arity(op, in, 1); err != nil {
		return nil, err
	}
	out, err := colours(op, in[0], 3, 4)
	if err != nil {
		return nil, err
	}
	return []Tensor{{DType: U8, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s ToPixels) FLOPs(in []Tensor) int64 { return 4 * int64(in[0].Len()) }

// FromPixels is 2·(v/255) − 1 in float32; alpha is dropped, as PIL's convert("RGB") does. Source: diffusers
// image_processor.py, VaeImageProcessor.preprocess.
//
// Input: v U8 [B, H, W, 4], red, green, blue, alpha. Output: [B, H, W, 3].
type FromPixels struct{}

// Infer implements Spec.
func (s FromPixels) Infer(in []Tensor) ([]Tensor, error) {
	const op = "FromPixels"
	if err := arity(op, in, 1); err != nil {
		return nil, err
	}
	if in[0].DType != U8 {
		return nil, &OpError{op, "type of " + in[0].Name, in[0].DType, U8}
	}
	out, err := colours(op, in[0], 4, 3)
	if err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: out}}, nil
}

// FLOPs implements Spec.
func (s FromPixels) FLOPs(in []Tensor) int64 { return 3 * int64(in[0].Len()/4*3) }

// colours is the shape of an image of from channels once it has to channels.
func colours(op string, x Tensor, from, to int) ([]int, error) {
	if err := rank(op, "x", x, 4); err != nil {
		return nil, err
	}
	s := x.Shape
	if s[3] != from {
		return nil, &OpError{op, "channels", s[3], from}
	}
	return []int{s[0], s[1], s[2], to}, nil
}
