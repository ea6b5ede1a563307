package process

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

// frame is a message with a header as it is given.
func frame(header, raw string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(header)))) + header + raw
}

// What a broken peer sends is an error, and no panic later on; only an end between two messages is an end.
func TestBrokenMessages(t *testing.T) {
	const gray = `{"Result":{"Pixels":[{"Type":"*image.Gray","Rect":{"Max":{"X":%d,"Y":%d}},"Stride":%d,"Bytes":%d}]}}`
	latents := func(shape string, count int) string {
		return frame(fmt.Sprintf(`{"Result":{"Latents":{"Shape":%s,"Count":%d}}}`, shape, count), strings.Repeat("\x00", 24))
	}
	const notAll = "must be all of its pixels"
	for sent, want := range map[string]string{
		"":                                  "EOF",
		"\x00\x00":                          "unexpected EOF",
		"\x00\x00\x00\x05{}":                "unexpected EOF",
		"\x00\x00\x00\x05":                  "unexpected EOF",
		"\xff\xff\xff\xff":                  "process: a header of 4294967295 bytes: must be at most 16777216",
		frame("", ""):                       "process: a header of 0 bytes that can't be read: EOF",
		frame(`{"ID":`, ""):                 "process: a header of 6 bytes that can't be read: unexpected EOF",
		frame("[]", ""):                     "process: a header of 2 bytes that can't be read: json: cannot unmarshal array",
		frame(strings.Repeat("[", 1e5), ""): "process: a header of 100000 bytes that can't be read: ",
		frame(`{"Result":{"Pixels":[{"Type":"x"}]}}`, ""):          `process: a message has an image of type "x", which is unknown`,
		frame(fmt.Sprintf(gray, 3, 2, 3, 6), "123456"):             "process: a result has a *image.Gray: must be a *image.NRGBA",
		frame(fmt.Sprintf(gray, 3, 2, 3, 6), "12345"):              "unexpected EOF",
		frame(fmt.Sprintf(gray, 3, 2, 3, 5), "123456"):             notAll,
		frame(fmt.Sprintf(gray, 3, 2, 2, 6), "123456"):             notAll,
		frame(fmt.Sprintf(gray, 3, 2, -3, 6), "123456"):            notAll,
		frame(fmt.Sprintf(gray, -3, 2, 3, 6), "123456"):            notAll,
		frame(fmt.Sprintf(gray, math.MaxInt64, 2, 3, 6), "123456"): notAll,
		frame(fmt.Sprintf(gray, 3, 1<<60, 16, 6), "123456"):        notAll,
		frame(fmt.Sprintf(gray, 3, 2, 3, -6), "123456"):            notAll,
		frame(fmt.Sprintf(gray, 3, 2, 3, 1<<31), "123456"):         "process: a message announces 2147483648 bytes: must be 0 to 1073741824",
		latents("[1,6]", 6):                   "<nil>",
		latents("[1,7]", 6):                   "process: a message has a tensor of shape [1 7] with 6 values",
		latents("[-1,-6]", 6):                 "process: a message has a tensor of shape [-1 -6] with 6 values",
		latents("[4611686018427387904,4]", 0): "process: a message has a tensor of shape [4611686018427387904 4] with 0 values",
		latents("[6]", -6):                    "process: a message announces -6 values",
	} {
		var a answer
		l := newLink(strings.NewReader(sent), io.Discard)
		err := l.read(&a)
		if err == nil && a.Result != nil {
			err = a.Result.unpack(l)
		}
		if got := fmt.Sprint(err); !strings.HasPrefix(got, want) && !(want == notAll && strings.HasSuffix(got, want)) {
			t.Errorf("%.60q: %s, want %s", sent, got, want)
		}
	}
}
