package imagefile

import (
	"bytes"
	"image/jpeg"
	"strings"
	"testing"
)

// The infotext of a JPEG is read back, whatever its characters, and the pixels are those of a JPEG without it.
func TestEncodeJPEG(t *testing.T) {
	img := sample()
	var plain bytes.Buffer
	if err := jpeg.Encode(&plain, img, &jpeg.Options{Quality: 80}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a cat\nSteps: 20, Sampler: Euler", "猫 and 🐈", "x", strings.Repeat("long ", 6000)} {
		data, err := EncodeJPEG(img, 80, []Text{{"prompt", "not this"}, {infotextKey, text}})
		if err != nil {
			t.Fatal(err)
		}
		got, texts, err := Decode(data, 4096)
		if err != nil || len(texts) != 1 || texts[0] != (Text{"UserComment", text}) {
			t.Errorf("%.20q: %v, %.60v", text, err, texts)
		}
		want, _, err := Decode(plain.Bytes(), 4096)
		if err != nil || !bytes.Equal(got.Pix, want.Pix) {
			t.Errorf("%.20q: other pixels, %v", text, err)
		}
		if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
			t.Error(err)
		}
	}
	for name, texts := range map[string][]Text{"none": nil, "too long": {{infotextKey, strings.Repeat("x", 33000)}}} {
		if data, err := EncodeJPEG(img, 80, texts); err != nil || !bytes.Equal(data, plain.Bytes()) {
			t.Errorf("%s: %d bytes, want %d, %v", name, len(data), plain.Len(), err)
		}
	}
}
