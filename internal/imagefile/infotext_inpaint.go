package imagefile

import (
	"strconv"

	"github.com/goxl/goxl/models/sdxl"
)

// maskedContent are A1111's names of fills.
var maskedContent = map[sdxl.InpaintFill]string{
	sdxl.FillBlur: "fill", sdxl.FillOriginal: "original", sdxl.FillNoise: "latent noise", sdxl.FillNothing: "latent nothing",
}

// addInpaint adds what A1111 says of inpainting (modules/img2img.py and modules/processing.py). A border it has no name
// for.
func (p Parameters) addInpaint(add func(key, value string)) {
	if p.Task != sdxl.Inpaint {
		return
	}
	if p.MaskBlur > 0 {
		add("Mask blur", strconv.FormatFloat(p.MaskBlur, 'f', -1, 64))
	}
	if p.InpaintFill != sdxl.FillOriginal {
		add("Masked content", maskedContent[p.InpaintFill])
	}
	if p.MaskPadding != nil {
		add("Inpaint area", "Only masked")
		add("Masked area padding", strconv.Itoa(*p.MaskPadding))
	}
	if p.MaskInvert {
		add("Mask mode", "Inpaint not masked")
	}
}
