package imagefile

import (
	"bytes"
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// encoders are those with a quality and a comment.
var encoders = map[string]func(*image.NRGBA, string, int) ([]byte, error){"JPEG": EncodeJPEG, "WebP": EncodeWebP}

// waves is an image of slow colours with a little noise, as photographs have.
func waves(width, height int) *image.NRGBA {
	r := rand.New(rand.NewPCG(uint64(width), uint64(height)))
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := 0; i < len(img.Pix); i += 4 {
		x, y := float64(i/4%width)/float64(width), float64(i/4/width)/float64(height)
		for c, v := range []float64{math.Sin(3 * (x + y)), math.Cos(5 * x * y), math.Sin(4 * (x - y))} {
			img.Pix[i+c] = uint8(120 + 100*v + 8*r.Float64())
		}
		img.Pix[i+3] = 255
	}
	return img
}

// meanError is how far the channels of two images are from another, on average.
func meanError(t *testing.T, a, b *image.NRGBA) float64 {
	t.Helper()
	if a.Bounds() != b.Bounds() {
		t.Fatalf("the image is %v, want %v", b.Bounds(), a.Bounds())
	}
	sum := 0
	for i := range a.Pix {
		sum += abs(int(a.Pix[i]) - int(b.Pix[i]))
	}
	return float64(sum) / float64(3*len(a.Pix)/4)
}

// What is encoded is read back with its comment and, the higher the quality, the nearer to what it was.
func TestEncodeLossy(t *testing.T) {
	const comment = "a cat, 猫 𝄞, \"quoted\"\nNegative prompt: fog\nSteps: 5, Sampler: Euler a, Seed: 18446744073709551615"
	for name, encode := range encoders {
		for _, size := range []image.Point{{1, 1}, {1, 40}, {33, 1}, {17, 31}, {64, 64}, {200, 120}} {
			t.Run(fmt.Sprintf("%s %v", name, size), func(t *testing.T) {
				img := waves(size.X, size.Y)
				last, bytesLast := math.Inf(1), 0
				for _, quality := range []int{1, 50, 90, 100} {
					data, err := encode(img, comment, quality)
					if err != nil {
						t.Fatal(err)
					}
					if format, err := Format(data); format != name || err != nil {
						t.Fatalf("the format is %q, %v", format, err)
					}
					got, texts, err := Decode(data, 1000)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff([]Text{{"UserComment", comment}}, texts); diff != "" {
						t.Fatalf("texts (-want +got):\n%s", diff)
					}
					if w, h, err := Size(data); w != size.X || h != size.Y || err != nil {
						t.Errorf("the header says %d×%d, %v", w, h, err)
					}
					e := meanError(t, img, got)
					if size.X*size.Y > 1000 && (e >= last || len(data) <= bytesLast) {
						t.Errorf("quality %d: off by %.2f in %d bytes, one below by %.2f in %d", quality, e, len(data), last, bytesLast)
					}
					last, bytesLast = e, len(data)
				}
				if most := 6.0; last > most { // colours at half the resolution, of noise
					t.Errorf("off by %.2f at quality 100, allowed %.2f", last, most)
				}
			})
		}
	}
}

// Without a comment there is no EXIF, and the pixels are the same.
func TestEncodeWithoutComment(t *testing.T) {
	for name, encode := range encoders {
		img := waves(40, 24)
		plain, err := encode(img, "", 90)
		if err != nil {
			t.Fatal(err)
		}
		said, err := encode(img, "a comment", 90)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(plain, []byte("MM\x00*")) || !bytes.Contains(said, []byte("MM\x00*")) {
			t.Errorf("%s: EXIF is where it should not be, or is not where it should", name)
		}
		a, _, err := Decode(plain, 100)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := Decode(said, 100)
		if err != nil {
			t.Fatal(err)
		}
		if e := meanError(t, a, b); e != 0 {
			t.Errorf("%s: the comment changes the pixels by %v", name, e)
		}
	}
}

// A comment may be longer than a segment of a JPEG, and of any characters.
func TestLongComments(t *testing.T) {
	for name, encode := range encoders {
		for _, c := range []struct{ comment, want string }{
			{strings.Repeat("x", 32_000), strings.Repeat("x", 32_000)},
			{strings.Repeat("Ünïcode 猫 𝄞 ", 20_000), strings.Repeat("Ünïcode 猫 𝄞 ", 20_000)},
			{"a\x00b\xffc", "a\uFFFDb\uFFFDc"},
			{"猫", "猫"},
		} {
			data, err := encode(waves(8, 8), c.comment, 90)
			if err != nil {
				t.Fatal(err)
			}
			texts, err := Texts(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Text{{"UserComment", c.want}}, texts); diff != "" {
				t.Errorf("%s (-want +got):\n%.300s", name, diff)
			}
			if _, _, err := Decode(data, 8); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Images that are hard on an encoder, noise and edges, and flat ones come back too.
func TestEncodeExtremes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for kind, c := range map[string]struct {
		pixel func(x, y int) byte
		most  float64 // mean error at quality 100
	}{
		"black": {func(int, int) byte { return 0 }, 0.5},
		"white": {func(int, int) byte { return 255 }, 0.5},
		"edges": {func(x, y int) byte { return byte(255 * ((x/2 + y/2) % 2)) }, 6},
		"noise": {func(int, int) byte { return byte(255 * r.IntN(2)) }, 8},
	} {
		img := image.NewNRGBA(image.Rect(0, 0, 150, 90))
		for i := 0; i < len(img.Pix); i += 4 {
			v := c.pixel(i/4%150, i/4/150)
			img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = v, v, v, 255
		}
		for name, encode := range encoders {
			for _, quality := range []int{1, 100} {
				data, err := encode(img, "", quality)
				if err != nil {
					t.Fatal(err)
				}
				got, _, err := Decode(data, 150)
				if err != nil {
					t.Fatal(err)
				}
				if e := meanError(t, img, got); quality == 100 && e > c.most {
					t.Errorf("%s of %s: off by %.2f, allowed %.2f", name, kind, e, c.most)
				}
			}
		}
	}
}

// What a format can't hold is an error that says what it can.
func TestEncodeRefuses(t *testing.T) {
	wide := &image.NRGBA{Pix: make([]byte, 4*70_000), Stride: 4 * 70_000, Rect: image.Rect(0, 0, 70_000, 1)}
	for name, most := range map[string]int{"JPEG": 65535, "WebP": 16383} {
		encode := encoders[name]
		for _, c := range []struct {
			img     *image.NRGBA
			quality int
			want    string
		}{
			{waves(8, 8), 0, "encoding " + name + ": the quality is 0: must be 1 to 100"},
			{waves(8, 8), 101, "encoding " + name + ": the quality is 101: must be 1 to 100"},
			{image.NewNRGBA(image.Rectangle{}), 90, fmt.Sprintf("encoding %s: 0×0 pixels: must be 1 to %d a side", name, most)},
			{wide, 90, fmt.Sprintf("encoding %s: 70000×1 pixels: must be 1 to %d a side", name, most)},
		} {
			if data, err := encode(c.img, "c", c.quality); data != nil || err == nil || err.Error() != c.want {
				t.Errorf("%d bytes, error %v, want %q", len(data), err, c.want)
			}
		}
	}
}

// Equal images make equal files, however many are encoded at once.
func TestEncodeTogether(t *testing.T) {
	for name, encode := range encoders {
		var want [4][]byte
		make := func(i int) []byte {
			data, err := encode(waves(64+16*i, 96), "c", 60+10*i)
			if err != nil {
				t.Error(err)
			}
			return data
		}
		for i := range want {
			want[i] = make(i)
		}
		var done sync.WaitGroup
		for g := range 4 {
			done.Go(func() {
				for i := range 12 {
					if i = (i + g) % len(want); !bytes.Equal(make(i), want[i]) {
						t.Errorf("%s: image %d is encoded otherwise beside others", name, i)
					}
				}
			})
		}
		done.Wait()
	}
}

// The header of every image that Pillow wrote says the size that it is decoded to.
func TestSize(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if filepath.Ext(path) == ".safetensors" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		img, _, err := Decode(data, 64)
		if err != nil {
			t.Fatal(err)
		}
		if w, h, err := Size(data); err != nil || image.Pt(w, h) != img.Bounds().Size() {
			t.Errorf("%s: %d×%d, %v; want %v", path, w, h, err, img.Bounds().Size())
		}
	}
	for _, data := range []string{"", "GIF89a", "\xff\xd8\xff", "RIFF\x00\x00\x00\x00WEBP", signature} {
		if _, _, err := Size([]byte(data)); err == nil {
			t.Errorf("%q has a size", data)
		}
	}
}

func BenchmarkEncodeLossy(b *testing.B) {
	img := waves(1024, 1024)
	for name, encode := range encoders {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				data, err := encode(img, "a comment", 90)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(data)), "file-bytes")
			}
		})
	}
}
