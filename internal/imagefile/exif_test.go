package imagefile

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// directoryOf is a TIFF directory of n entries alike, whose value is the number at.
func directoryOf(n int, tag, kind uint16, count, at uint32) []byte {
	order := binary.BigEndian
	entry := order.AppendUint16(order.AppendUint16(nil, tag), kind)
	entry = order.AppendUint32(order.AppendUint32(entry, count), at)
	return append(order.AppendUint16(nil, uint16(n)), slices.Repeat(entry, n)...)
}

// A file may name a directory, or a comment, as often as it likes: each is read once.
func TestRepeatedEXIF(t *testing.T) {
	const header, n = 8, 300
	comment := "ASCII\x00\x00\x00" + strings.Repeat("x", 1000)
	first := directoryOf(n, tagExifIFD, typeLong, 1, header+2+12*n)
	second := directoryOf(n, tagUserComment, 7, uint32(len(comment)), header+2*(2+12*n))
	data := slices.Concat([]byte("MM\x00*\x00\x00\x00\x08"), first, second, []byte(comment))

	if got := parseEXIF(data).comment; got != comment[8:] {
		t.Fatalf("the comment is %.20q", got)
	}
	if allocations := testing.AllocsPerRun(1, func() { parseEXIF(data) }); allocations > n {
		t.Errorf("%v allocations for %d entries", allocations, n)
	}
}
