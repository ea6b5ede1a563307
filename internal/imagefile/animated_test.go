package imagefile

import (
	"encoding/binary"
	"hash/crc32"
	"image"
	"testing"
)

func TestAnimated(t *testing.T) {
	still, err := Encode(image.NewNRGBA(image.Rect(0, 0, 3, 3)), nil)
	if err != nil {
		t.Fatal(err)
	}
	// acTL, of one frame and no end, behind the header.
	chunk := append([]byte("acTL"), 0, 0, 0, 1, 0, 0, 0, 0)
	control := binary.BigEndian.AppendUint32(nil, 8)
	control = binary.BigEndian.AppendUint32(append(control, chunk...), crc32.ChecksumIEEE(chunk))
	const header = 8 + 25
	animated := append(append(append([]byte(nil), still[:header]...), control...), still[header:]...)
	if _, _, err := Decode(animated, 8192); err != nil {
		t.Fatalf("an animated PNG: %v", err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want bool
	}{
		{"a PNG", still, false}, {"an animated PNG", animated, true}, {"a PNG cut short", animated[:header+6], false},
		{"an animated WebP", stored(t, "animated_part.webp"), true}, {"nothing", nil, false}, {"a WebP cut short", stored(t, "animated_part.webp")[:18], false},
	} {
		if got := Animated(c.data); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
