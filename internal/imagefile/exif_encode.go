package imagefile

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// commentEXIF is an EXIF block, without "Exif\0\0", whose one text is a UserComment as A1111 writes it with piexif:
// UTF-16, the big end first, behind "UNICODE\0". NUL, which would end the text for many readers, becomes U+FFFD, and
// so do bytes that are not UTF-8. Equal texts give equal blocks.
func commentEXIF(text string) []byte {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	value := []byte("UNICODE\x00")
	for _, unit := range utf16.Encode([]rune(text)) {
		value = binary.BigEndian.AppendUint16(value, unit)
	}
	// Two directories of one entry each: the first points to EXIF's own, whose comment lies behind it.
	const (
		header    = 8
		directory = 2 + 12 + 4 // count, entry, no next directory
	)
	out := append(make([]byte, 0, header+2*directory+len(value)), "MM\x00*\x00\x00\x00\x08"...)
	out = appendDirectory(out, tagExifIFD, typeLong, 1, header+directory)
	out = appendDirectory(out, tagUserComment, typeUndefined, uint32(len(value)), header+2*directory)
	return append(out, value...)
}

// appendDirectory writes a TIFF directory of one entry, the big end first.
func appendDirectory(out []byte, tag, kind uint16, count, value uint32) []byte {
	order := binary.BigEndian
	out = order.AppendUint16(out, 1)
	out = order.AppendUint16(order.AppendUint16(out, tag), kind)
	out = order.AppendUint32(order.AppendUint32(out, count), value)
	return order.AppendUint32(out, 0)
}
