package imagefile

import (
	"crypto/sha256"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"testing"
)

// The hashes are those of Pillow 13.0.0's alpha, turned by exif_transpose. Of one transparent colour of 16 bits Pillow
// knows nothing.
func TestAlphaAsPillow(t *testing.T) {
	const rgba = "ff8b706405a2bbe7"
	want := map[string]string{
		"exif_palette.png": "dbcd97d5b85356f7", "grey1_trns.png": "a907405c35d03554", "grey8_trns.png": "55de97d2b0809ffb", "rgb8_trns.png": "39282f25363f295c",
		"interlaced_palette.png": "8b25a1f3bc01ae56", "palette_trns.png": "8b25a1f3bc01ae56",
		"la16.png": rgba, "la8.png": rgba, "rgba16.png": rgba, "rgba8.png": rgba, "lossless_alpha.webp": rgba, "lossy_alpha.webp": rgba,
		"grey16_trns.png": "any", "rgb16_trns.png": "any",
	}
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		if filepath.Ext(name) == ".safetensors" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		channel, err := Alpha(data, 64)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		if channel != nil {
			h := sha256.New()
			for i := 0; i < len(channel.Pix); i += 4 {
				h.Write(channel.Pix[i : i+1])
			}
			got = fmt.Sprintf("%x", h.Sum(nil))[:16]
			if img, _, err := Decode(data, 64); err != nil || img.Bounds() != channel.Bounds() || !channel.Opaque() {
				t.Errorf("%s: the alpha of %v, the image of %v, %v", name, channel.Bounds(), img.Bounds(), err)
			}
		}
		if got != want[name] && want[name] != "any" {
			t.Errorf("%s: %q, want %q", name, got, want[name])
		}
	}
}

// An image that is no image, or too large, is an error before its pixels get memory.
func TestAlphaErrors(t *testing.T) {
	if _, err := Alpha([]byte("hello"), 64); err == nil {
		t.Error("a text has an alpha")
	}
	data, err := Encode(image.NewNRGBA(image.Rect(0, 0, 65, 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Alpha(data, 64); err == nil {
		t.Error("65 pixels a side are taken")
	}
	if _, err := Alpha(data[:len(data)-20], 65); err == nil {
		t.Error("half a file is taken")
	}
}
