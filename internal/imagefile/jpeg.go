package imagefile

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"slices"
)

func decodeJPEG(data []byte, maxSide int) (*image.NRGBA, metadata, error) {
	s := segments(data)
	if s.components == 4 && !s.adobe {
		// image/jpeg does not guess what the four are. libjpeg takes them for CMYK, which Adobe's segment with the
		// transform 0 says.
		data = slices.Concat(data[:2], []byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"), data[2:])
	}
	config, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, metadata{}, err
	}
	if err := checkSize(config.Width, config.Height, maxSide); err != nil {
		return nil, metadata{}, err
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, metadata{}, err
	}
	var rgb *image.NRGBA
	switch img := img.(type) {
	case *image.YCbCr:
		rgb = fromYCbCr(img, libjpegChroma, libjpegRGB)
	case *image.CMYK:
		rgb = fromCMYK(img)
	default: // grey, and RGB that was stored as such
		if rgb, err = toRGB(img, false); err != nil {
			return nil, metadata{}, err
		}
	}
	return rgb, s.metadata, nil
}

func jpegMetadata(data []byte) (metadata, error) { return segments(data).metadata, nil }

// jpegSegments is what the segments before a JPEG's first scan say.
type jpegSegments struct {
	metadata
	components int  // of the frame header
	adobe      bool // there is Adobe's segment
}

const xmpNamespace = "http://ns.adobe.com/xap/1.0/\x00"

// segments reads a JPEG up to its first scan, or to where it is damaged.
func segments(data []byte) (s jpegSegments) {
	rest := data[2:]
	for {
		start := bytes.IndexByte(rest, 0xff) // libjpeg passes over what lies between segments
		if start < 0 || start+4 > len(rest) {
			return s
		}
		marker := rest[start+1]
		switch {
		case marker == 0xff: // fill
			rest = rest[start+1:]
			continue
		case marker == 0 || marker >= 0xd0 && marker <= 0xd8 || marker == 0x01: // no segment follows
			rest = rest[start+2:]
			continue
		case marker == 0xda || marker == 0xd9: // a scan, or the end
			return s
		}
		n := int(binary.BigEndian.Uint16(rest[start+2:]))
		if n < 2 || start+2+n > len(rest) {
			return s
		}
		body := rest[start+4 : start+2+n]
		rest = rest[start+2+n:]
		switch {
		case marker == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")):
			if s.exif != nil { // a block of more than 64 KB goes on in the next segment
				body = body[6:]
			}
			s.exif = append(s.exif, body...)
		case marker == 0xe1 && bytes.HasPrefix(body, []byte(xmpNamespace)):
			s.xmp = body[len(xmpNamespace):]
		case marker == 0xee && bytes.HasPrefix(body, []byte("Adobe")) && len(body) >= 12:
			s.adobe = true
		case marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc && len(body) >= 6: // a frame header
			s.components = int(body[5])
		}
	}
}

// fromCMYK is Pillow's cmyk2rgb.
func fromCMYK(img *image.CMYK) *image.NRGBA {
	b := img.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	for y := range b.Dy() {
		src, dst := img.Pix[y*img.Stride:], out.Pix[y*out.Stride:]
		for i := 0; i < 4*b.Dx(); i += 4 {
			light := 255 - int(src[i+3])
			for c := range 3 {
				v := int(src[i+c])*light + 128
				dst[i+c] = uint8(max(light-(v>>8+v)>>8, 0))
			}
			dst[i+3] = 255
		}
	}
	return out
}
