package imagefile

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/golden"
)

// jpegBound is how far a channel of a JPEG's pixel may be from libjpeg-turbo's, whose inverse cosine transform rounds
// otherwise than image/jpeg's; everything after the transform is computed with libjpeg's own numbers.
const jpegBound = 3

// Every image that tools/reference/images.py wrote has the pixels that diffusers' load_image gives: those of a file
// without loss exactly.
func TestDecodeAsPillow(t *testing.T) {
	want := golden.Open(t, "testdata/pixels.safetensors")
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range files {
		name := filepath.Base(path)
		if filepath.Ext(name) == ".safetensors" {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			img, _, err := Decode(data, 64)
			if err != nil {
				t.Fatal(err)
			}
			pixels, shape := want.Bytes(name)
			if b := img.Bounds(); b.Dy() != shape[0] || b.Dx() != shape[1] {
				t.Fatalf("%v pixels, want %d×%d", b, shape[1], shape[0])
			}
			bound, worst := 0, 0
			if strings.HasSuffix(name, ".jpg") {
				bound = jpegBound
			}
			for i := range shape[0] * shape[1] {
				x, y := i%shape[1], i/shape[1]
				r, g, b, a := img.At(x, y).RGBA()
				got, ref := [3]int{int(r >> 8), int(g >> 8), int(b >> 8)}, pixels[3*i:3*i+3]
				for c := range got {
					d := abs(got[c] - int(ref[c]))
					worst = max(worst, d)
					if d > bound || a != 0xffff {
						t.Fatalf("pixel %d, %d is %v with alpha %#x, want %v, give or take %d", x, y, got, a, ref, bound)
					}
				}
			}
			if bound > 0 {
				t.Logf("off by %d at most", worst)
			}
		})
	}
	if seen < 70 {
		t.Errorf("%d images under testdata, want all that tools/reference/images.py writes", seen)
	}
}

func stored(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Texts come from every kind of chunk and from EXIF; damaged ones are left out.
func TestTextsOf(t *testing.T) {
	for name, want := range map[string][]Text{
		"text_odd.png": {{"parameters", "猫, ünïcode"}, {"comment", "café \n deflated"}, {"plain", "as it is"}, {"late", "behind the pixels"}},
		"exif_xmp.png": nil, "exif_raw_profile.png": nil, "lossy.webp": nil, "grey.jpg": nil,
		"parameters.jpg":  {{"UserComment", "a cat, 猫\nSteps: 5, Sampler: Euler, Seed: 1"}},
		"parameters.webp": {{"UserComment", "a dog\nSteps: 5, Sampler: Euler, Seed: 2"}},
	} {
		got, err := Texts(stored(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if _, texts, err := Decode(stored(t, name), 64); err != nil || !cmp.Equal(texts, got) {
			t.Errorf("%s: Decode gives %q, %v", name, texts, err)
		}
	}
}

// A text that inflates to more than a megabyte is left out, and of many texts only as many are read as memory is meant
// for them.
func TestLargeTexts(t *testing.T) {
	deflated := func(n int) []byte {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		w.Write(make([]byte, n))
		w.Close()
		return append([]byte("k\x00\x00"), b.Bytes()...)
	}
	whole, err := Encode(sample(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if texts, err := Texts(spliced(whole, frame("zTXt", deflated(maxText+1)), frame("zTXt", deflated(maxText)))); err != nil || len(texts) != 1 {
		t.Errorf("%d texts, %v, want the one that is not too large", len(texts), err)
	}
	many := bytes.Repeat(frame("zTXt", deflated(maxText)), 2*maxTexts/maxText)
	if texts, err := Texts(spliced(whole, many)); err != nil || len(texts) != maxTexts/maxText {
		t.Errorf("%d texts, %v, want %d", len(texts), err, maxTexts/maxText)
	}
}

// An image that is too large is refused by what its header says: nothing else is there to be read.
func TestTooLarge(t *testing.T) {
	png := append(stored(t, "rgb8.png")[:0:0], stored(t, "rgb8.png")[:33]...)
	binary.BigEndian.PutUint32(png[16:], 5000)
	png = append(png[:8], frame("IHDR", png[16:29])...)
	jpeg := stored(t, "jpeg420.jpg")
	at := bytes.Index(jpeg, []byte("\xff\xc0"))
	jpeg = append(jpeg[:0:0], jpeg[:at+19]...)
	binary.BigEndian.PutUint16(jpeg[at+5:], 5000)
	lossless, lossy := stored(t, "lossless.webp")[:40], stored(t, "lossy.webp")[:40]
	binary.LittleEndian.PutUint32(lossless[16:], 10)
	binary.LittleEndian.PutUint32(lossy[16:], 10)
	binary.LittleEndian.PutUint32(lossless[21:], 4999|16<<14)
	binary.LittleEndian.PutUint16(lossy[26:], 5000)
	animated := stored(t, "animated_part.webp")
	animated[24], animated[25] = 4999&0xff, 4999>>8
	for name, data := range map[string][]byte{"PNG": png, "JPEG": jpeg, "lossless WebP": lossless[:30], "lossy WebP": lossy[:30], "animated WebP": animated} {
		if _, _, err := Decode(data, 4999); err == nil || !strings.Contains(err.Error(), "5000") || !strings.Contains(err.Error(), "must be at most 4999 a side") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A canvas of an allowed size around a larger frame.
	small := stored(t, "animated_part.webp")
	small[24], small[25] = 5, 0
	if _, _, err := Decode(small, 64); err == nil || !strings.Contains(err.Error(), "a frame of (10,8) pixels") {
		t.Errorf("a frame that is larger than its canvas: %v", err)
	}
}

// What is no image of the three formats is named where it is known.
func TestOtherFormats(t *testing.T) {
	for magic, want := range map[string]string{
		"": "not a PNG, JPEG or WebP image", "hello, world": "not a PNG, JPEG or WebP image", "GIF89a": "this is a GIF image: must be a PNG, JPEG or WebP image",
		"\x00\x00\x00\x1cftypheic\x00": "this is an HEIF image", "\x00\x00\x00\x1cftypavif\x00": "this is an AVIF image", "II*\x00\x08": "this is a TIFF image",
		"BM\x36\x00\x00\x00\x00\x00\x00\x00": "this is a BMP image",
	} {
		_, _, err := Decode([]byte(magic), 8)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", magic, err, want)
		}
		if name, err := Format([]byte(magic)); name != "" || !errors.As(err, &format) || (format.Found != "") != strings.Contains(want, "this is") {
			t.Errorf("%q: format %q, %v", magic, name, err)
		}
	}
}

// Every file, cut anywhere, is an error or an image, and no panic; so is one with a byte changed.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		if filepath.Ext(path) == ".safetensors" {
			continue
		}
		data := stored(f, filepath.Base(path))
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		img, _, err := Decode(data, 256)
		if err == nil && (img.Bounds().Empty() || !img.Opaque()) {
			t.Errorf("%v, opaque: %v", img.Bounds(), img.Opaque())
		}
		Texts(data)
	})
}
