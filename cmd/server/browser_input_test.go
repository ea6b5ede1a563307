//go:build browser && !nodemo

package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"testing"
)

// inputJob is what the tests read of a job that images went into.
type inputJob struct {
	ID, State, Task string
	Inputs          []struct{ ID, Role string }
	Images          []struct {
		ID, URL       string
		Width, Height int
	}
	Parameters struct {
		Outpaint    []int
		Strength    float64
		MaskBlur    float64 `json:"mask_blur"`
		MaskPadding *int    `json:"mask_padding"`
		SoftMask    bool    `json:"soft_mask"`
		MaskInvert  bool    `json:"mask_invert"`
		InpaintFill string  `json:"inpaint_fill"`
		Interrupted *struct {
			StepsDone int `json:"steps_done"`
			Steps     int
		}
		Hires *struct {
			Scale         float64
			Width, Height int
			Steps         int `json:"num_inference_steps"`
			Strength      float64
			Upscaler      string
			Prompt        string
		}
		Controls []struct {
			Name         string
			Scale, End   float64
			Preprocessor string
		}
		IPAdapters []struct {
			Name   string
			Images int
			Scale  float64
		} `json:"ip_adapters"`
	}
}

// inputs are the ids of a job's images by their roles.
func (j inputJob) inputs() map[string]string {
	ids := map[string]string{}
	for _, in := range j.Inputs {
		ids[in.Role] = in.ID
	}
	return ids
}

// jobOf reads a job.
func jobOf(t *testing.T, address, id string) (j inputJob) {
	t.Helper()
	if err := json.Unmarshal([]byte(get(t, address+"/v1/jobs/"+id)), &j); err != nil {
		t.Fatal(err)
	}
	return j
}

// kept is the request that the page keeps.
func kept[T any](b *tab) (request T) {
	b.t.Helper()
	if err := json.Unmarshal([]byte(value[string](b, "localStorage.getItem('goxl.form')")), &request); err != nil {
		b.t.Fatal(err)
	}
	return request
}

// withSource opens a page of a demo server, an image of whose own, of 128 × 96 pixels, is the form's input.
func withSource(t *testing.T, args ...string) (b *tab, address, id string) {
	t.Helper()
	_, address = spawn(t, append([]string{"-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu"}, args...)...)
	made := ask(t, "POST", address+"/v1/jobs", `{"prompt":"a red apple","width":128,"height":96,"num_inference_steps":4,"seed":1}`, 202)
	id = until(t, address+"/v1/jobs/"+made.ID, func(j jobState) bool { return j.State == "done" }).Images[0].ID
	b = open(t, newBrowser(t), address)
	b.view("#tiles [data-image]")
	b.press("#viewer button", "Use as input")
	b.until(`document.getElementById('source-size').textContent === '128 × 96'`)
	return b, address, id
}

// edit opens the dialog in which the input image is edited.
func (b *tab) edit(part string) {
	b.t.Helper()
	b.click("#edit-" + part)
	b.until(`document.getElementById('editor').open`)
}

// done closes it with what was drawn.
func (b *tab) done() {
	b.t.Helper()
	b.click("#editor-done")
	b.until(`!document.getElementById('editor').open`)
}

// computed presses the button of the form and waits for the job.
func (b *tab) computed(address string) inputJob {
	b.t.Helper()
	before := value[string](b, "document.querySelector('.ended')?.dataset.job ?? ''")
	b.click("#generate")
	b.until(`document.querySelector('.ended img')?.complete && document.querySelector('.ended').dataset.job !== '` + before + `'`)
	return jobOf(b.t, address, value[string](b, "document.querySelector('.ended').dataset.job"))
}

// downloaded decodes an image of a server.
func downloaded(t *testing.T, address, id string) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader([]byte(get(t, address+"/download/"+id))))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// painted reports whether a mask is white at a point, and fails where it is neither white nor black.
func painted(t *testing.T, mask image.Image, x, y int) bool {
	t.Helper()
	grey := color.GrayModel.Convert(mask.At(x, y)).(color.Gray).Y
	if grey > 0 && grey < 255 {
		t.Errorf("the mask is %d at %d, %d", grey, x, y)
	}
	return grey == 255
}

// Strength without a choice is that of the model that computes, the refiner or the base.
func TestBrowserStrength(t *testing.T) {
	b, _, _ := withSource(t)
	strength := func(want float64) {
		t.Helper()
		if got := kept[struct{ Strength float64 }](b).Strength; got != want {
			t.Errorf("the strength is %v, want %v", got, want)
		}
	}
	strength(0.3)
	b.run(`document.querySelector("#on-refiner input").click()`)
	strength(0.15)
	b.run(`document.querySelector("#on-refiner input").click()`)
	strength(0.3)
	b.fill("strength", "0.5")
	b.run(`document.querySelector("#on-refiner input").click()`)
	strength(0.5)
}
