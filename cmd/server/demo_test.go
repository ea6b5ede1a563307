//go:build !nodemo

package main

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/internal/cli"
)

// Without flags the embedded model is served with its refiner, at their own size and steps. A seed repeats itself.
func TestDefaults(t *testing.T) {
	images := filepath.Join(t.TempDir(), "images")
	address, stderr, ended := start(t, "-images", images)
	download := func(id string) *image.NRGBA {
		t.Helper()
		resp, err := http.Get(address + "/download/" + id)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		img, err := png.Decode(resp.Body)
		if err != nil || img.Bounds() != image.Rect(0, 0, 256, 256) {
			t.Fatalf("%v: want an image of 256×256", err)
		}
		copied := image.NewNRGBA(img.Bounds())
		draw.Draw(copied, copied.Rect, img, image.Point{}, draw.Src)
		return copied
	}
	const prompt = `"prompt":"a red apple on a blue background","seed":1`
	id := post(t, address+"/generate", "{"+prompt+"}")
	made := download(id)
	refine := fmt.Sprintf(`{"id":%q,%s}`, id, prompt)
	refined, again := download(post(t, address+"/refine", refine)), download(post(t, address+"/refine", refine))
	if !bytes.Equal(refined.Pix, again.Pix) {
		t.Error("the same seed refines to another image")
	}
	var square float64
	for i, v := range refined.Pix {
		d := float64(v) - float64(made.Pix[i])
		square += d * d
	}
	// A refined image is another one of the same scene: a root mean square difference of some levels.
	if rms := math.Sqrt(square / float64(len(made.Pix))); !(rms > 0.1 && rms < 25) {
		t.Errorf("refined, the image differs by %.2f levels", rms)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d:\n%s", status, stderr)
	}
	if log := stderr.String(); strings.Count(log, "level=INFO msg="+strconv.Quote(cli.DemoNotice)) != 1 {
		t.Errorf("the log does not say once what the embedded model is:\n%s", log)
	}
}
