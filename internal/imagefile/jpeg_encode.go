package imagefile

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"unicode/utf16"
)

// EncodeJPEG returns an image as JPEG of a quality from 1 to 100. Of the texts it has the infotext alone, as A1111 writes
// it: a UserComment of EXIF. One that is too long for that, about 32,000 characters, is left out.
func EncodeJPEG(img image.Image, quality int, texts []Text) ([]byte, error) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		return nil, err
	}
	for _, t := range texts {
		if t.Key == infotextKey {
			return withEXIF(b.Bytes(), t.Value), nil
		}
	}
	return b.Bytes(), nil
}

// Offsets in what withEXIF writes, from the beginning of the TIFF structure: two directories of one entry each, and the
// comment.
const (
	exifDirectory = 26
	exifComment   = 44
)

// withEXIF puts a segment with a UserComment behind the first marker of a JPEG.
func withEXIF(data []byte, comment string) []byte {
	text := []byte("UNICODE\x00")
	for _, unit := range utf16.Encode([]rune(comment)) {
		text = binary.BigEndian.AppendUint16(text, unit)
	}
	entry := func(tiff []byte, tag, kind uint16, count, value uint32) []byte {
		tiff = binary.BigEndian.AppendUint16(tiff, 1) // entries
		tiff = binary.BigEndian.AppendUint16(tiff, tag)
		tiff = binary.BigEndian.AppendUint16(tiff, kind)
		tiff = binary.BigEndian.AppendUint32(tiff, count)
		tiff = binary.BigEndian.AppendUint32(tiff, value)
		return binary.BigEndian.AppendUint32(tiff, 0) // no directory follows
	}
	segment := []byte("Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08")
	segment = entry(segment, 0x8769, 4, 1, exifDirectory)
	segment = entry(segment, 0x9286, 7, uint32(len(text)), exifComment)
	segment = append(segment, text...)
	length := len(segment) + 2
	if length > 0xffff {
		return data
	}
	out := append([]byte{}, data[:2]...)
	out = append(out, 0xff, 0xe1, byte(length>>8), byte(length))
	return append(append(out, segment...), data[2:]...)
}
