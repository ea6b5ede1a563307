package imagefile

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// exif is what is read of an EXIF block.
type exif struct {
	orientation    int
	hasOrientation bool
	comment        string // UserComment
}

// Tags and types of TIFF and EXIF that are read.
const (
	tagOrientation = 0x0112
	tagExifIFD     = 0x8769
	tagUserComment = 0x9286

	typeByte, typeShort, typeLong, typeUndefined = 1, 3, 4, 7
)

// parseEXIF reads an EXIF block: a TIFF header and its first directory. What is damaged or not there stays zero.
func parseEXIF(data []byte) (e exif) {
	for range 2 { // as Pillow; some programs write the prefix twice
		data = bytes.TrimPrefix(data, []byte("Exif\x00\x00"))
	}
	t := tiff{data: data}
	switch {
	case bytes.HasPrefix(data, []byte("II*\x00")):
		t.order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("MM\x00*")):
		t.order = binary.BigEndian
	default:
		return e
	}
	// Of tags that come twice the last counts, as in Pillow; what they point to is read once, however many there are.
	var details uint32
	first, _ := t.long(4)
	for _, entry := range t.directory(first) {
		switch entry.tag {
		case tagOrientation:
			e.hasOrientation = true
			e.orientation = int(min(entry.number(), 9))
		case tagExifIFD:
			details = entry.number()
		}
	}
	var comment []byte
	for _, entry := range t.directory(details) {
		if entry.tag == tagUserComment {
			comment = entry.bytes()
		}
	}
	e.comment = userComment(comment)
	return e
}

// tiff is a file of directories. Every read checks its bounds.
type tiff struct {
	data  []byte
	order binary.ByteOrder
}

// entry is one tag of a directory.
type entry struct {
	file  tiff
	tag   uint16
	kind  uint16
	count uint32
	at    uint32 // where the value, or its offset, lies
}

func (t tiff) slice(at, n uint32) ([]byte, bool) {
	end := uint64(at) + uint64(n)
	if end > uint64(len(t.data)) {
		return nil, false
	}
	return t.data[at:end], true
}

func (t tiff) long(at uint32) (uint32, bool) {
	b, ok := t.slice(at, 4)
	if !ok {
		return 0, false
	}
	return t.order.Uint32(b), true
}

// directory lists the entries at an offset, as far as they lie within the file.
func (t tiff) directory(at uint32) (list []entry) {
	head, ok := t.slice(at, 2)
	if at == 0 || !ok {
		return nil
	}
	for i := range uint32(t.order.Uint16(head)) {
		b, ok := t.slice(at+2+12*i, 12)
		if !ok {
			break
		}
		list = append(list, entry{t, t.order.Uint16(b), t.order.Uint16(b[2:]), t.order.Uint32(b[4:]), at + 2 + 12*i + 8})
	}
	return list
}

// number is a single unsigned value; 0 for anything else.
func (e entry) number() uint32 {
	b, ok := e.file.slice(e.at, 4)
	if !ok || e.count != 1 {
		return 0
	}
	switch e.kind {
	case typeByte:
		return uint32(b[0])
	case typeShort:
		return uint32(e.file.order.Uint16(b))
	case typeLong:
		return e.file.order.Uint32(b)
	}
	return 0
}

// bytes is a value of as many bytes as the count says, of four at most in the entry itself.
func (e entry) bytes() []byte {
	at := e.at
	if e.count > 4 {
		at, _ = e.file.long(e.at)
	}
	b, _ := e.file.slice(at, e.count)
	return b
}

// userComment decodes a UserComment: eight bytes that name its character code, then the text.
func userComment(b []byte) string {
	if len(b) < 8 {
		return ""
	}
	code, text := string(b[:8]), b[8:]
	if code != "UNICODE\x00" {
		return strings.TrimRight(strings.ToValidUTF8(string(text), "\uFFFD"), "\x00")
	}
	// UTF-16. EXIF does not say in which order: piexif, and so A1111, takes the big end first. The zero bytes of Latin
	// letters show the order.
	zeros := [2]int{}
	for i, v := range text {
		if v == 0 {
			zeros[i%2]++
		}
	}
	var order binary.ByteOrder = binary.BigEndian
	if zeros[1] > zeros[0] {
		order = binary.LittleEndian
	}
	units := make([]uint16, 0, len(text)/2)
	for ; len(text) >= 2; text = text[2:] {
		units = append(units, order.Uint16(text))
	}
	return strings.Trim(string(utf16.Decode(units)), "\x00\uFEFF")
}
