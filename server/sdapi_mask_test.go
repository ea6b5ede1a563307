package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// painted is a PNG in base64 whose pixels at says; it has an alpha channel if one of them is not opaque.
func painted(t testing.TB, width, height int, at func(x, y int) color.NRGBA) string {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		img.SetNRGBA(i%width, i/width, at(i%width, i/width))
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// leftWhite is a mask that repaints the left half, in base64.
func leftWhite(t *testing.T, width, height int) string { return inBase64(halfMask(t, width, height)) }

// The engine gets the image and the mask as they came, and A1111's fields by the library's names.
func TestSDMask(t *testing.T) {
	b := sdBench(t, nil)
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	init, mask := sdPNG(t, 96, 64), leftWhite(t, 96, 64)
	for _, c := range []struct {
		fields, infotext string
		change           func(r *sdxl.Request)
	}{
		{``, "Mask blur: 4, Masked content: fill, Inpaint area: Only masked, Masked area padding: 0", func(*sdxl.Request) {}},
		{`,"mask_blur":9,"inpainting_fill":1,"inpaint_full_res_padding":32`, "Mask blur: 9, Inpaint area: Only masked, Masked area padding: 32", func(r *sdxl.Request) {
			r.MaskBlur, r.InpaintFill, r.MaskPadding = 9, sdxl.FillOriginal, new(32)
		}},
		{`,"mask_blur":0,"inpainting_fill":2,"inpaint_full_res":false,"resize_mode":1`, "Masked content: latent noise", func(r *sdxl.Request) {
			r.MaskBlur, r.InpaintFill, r.MaskPadding, r.Resize = 0, sdxl.FillNoise, nil, sdxl.ResizeCrop
		}},
		{`,"mask_blur_x":2,"mask_blur_y":2,"inpainting_fill":3,"inpaint_full_res":0,"inpainting_mask_invert":1,"resize_mode":2`,
			"Mask blur: 2, Masked content: latent nothing, Mask mode: Inpaint not masked", func(r *sdxl.Request) {
				r.MaskBlur, r.InpaintFill, r.MaskPadding, r.Resize, r.MaskInvert = 2, sdxl.FillNothing, nil, sdxl.ResizeFill, true
			}},
		{`,"mask_blur_x":6,"mask_blur_y":0,"inpaint_full_res":false`, "Masked content: fill", func(r *sdxl.Request) {
			r.MaskBlur, r.MaskPadding, r.Resize = 0, nil, sdxl.ResizeStretch
		}},
	} {
		a := decodeSD(t, b.do("POST", "/sdapi/v1/img2img", `{"prompt":"p","init_images":["`+init+`"],"mask":"`+mask+`","steps":4,"seed":3,"width":64,"height":128`+c.fields+`}`))
		expected := sdxl.Request{Width: 64, Height: 128, Strength: 0.75, MaskBlur: 4, InpaintFill: sdxl.FillBlur, MaskPadding: new(0)}
		c.change(&expected)
		r := got.Request
		actual := sdxl.Request{
			Width: r.Width, Height: r.Height, Strength: r.Strength, MaskBlur: r.MaskBlur, InpaintFill: r.InpaintFill, MaskPadding: r.MaskPadding, Resize: r.Resize, MaskInvert: r.MaskInvert,
		}
		if diff := cmp.Diff(expected, actual); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.fields, diff)
		}
		if r.Image == nil || r.Mask == nil || r.Image.Bounds() != image.Rect(0, 0, 96, 64) || r.Mask.Bounds() != image.Rect(0, 0, 96, 64) || got.Parameters.Task != sdxl.Inpaint {
			t.Fatalf("%s: from %v with %v: %+v", c.fields, r.Image, r.Mask, got.Parameters)
		}
		wantMask := decodeBase64(t, mask)
		if strings.Contains(c.fields, "mask_blur_x\":6") {
			wantMask = resample.GaussianBlurXY(wantMask, 6, 0)
		}
		if diff := cmp.Diff(wantMask, r.Mask); diff != "" {
			t.Errorf("%s: another mask: %.300s", c.fields, diff)
		}
		if !strings.Contains(a.info.Infotexts[0], "Denoising strength: 0.75, "+c.infotext+", RNG") || a.info.Width != 64 || a.info.Height != 128 {
			t.Errorf("%s: %s, want %s; %+v", c.fields, a.info.Infotexts[0], c.infotext, a.info)
		}
		extra := map[string]any{}
		for _, part := range strings.Split(c.infotext, ", ") {
			key, value, _ := strings.Cut(part, ": ")
			if extra[key] = value; sdNumber.MatchString(value) {
				extra[key] = json.Number(value)
			}
		}
		for key, value := range extra {
			if fmt.Sprint(a.info.Extra[key]) != fmt.Sprint(value) {
				t.Errorf("%s: %s is %v, want %v", c.fields, key, a.info.Extra[key], value)
			}
		}
		if v, there := a.Parameters["mask"]; v != nil || !there {
			t.Errorf("the answer repeats the mask: %.60v", v)
		}
	}
}

// decodeBase64 is an image in base64.
func decodeBase64(t testing.TB, text string) *image.NRGBA {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// A mask with transparent pixels is its alpha, white above 128; another one is its luminance.
func TestSDBinaryMask(t *testing.T) {
	b := sdBench(t, nil)
	var got image.Image
	b.base.take = func(j engine.Job) { got = j.Request.Mask }
	init := sdPNG(t, 64, 64)
	for name, c := range map[string]struct {
		pixel color.NRGBA
		want  [2]uint8 // of the left and the right half
	}{
		"luminance":        {color.NRGBA{255, 0, 0, 255}, [2]uint8{76, 0}},
		"transparent":      {color.NRGBA{255, 255, 255, 0}, [2]uint8{0, 255}},
		"half transparent": {color.NRGBA{255, 255, 255, 128}, [2]uint8{0, 255}},
		"hardly":           {color.NRGBA{0, 0, 0, 129}, [2]uint8{255, 255}},
	} {
		mask := painted(t, 64, 64, func(x, _ int) color.NRGBA {
			if x < 32 {
				return c.pixel
			}
			return color.NRGBA{0, 0, 0, 255}
		})
		decodeSD(t, b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+init+`"],"mask":"`+mask+`","steps":4,"mask_blur":0,"width":64,"height":64}`))
		for i, want := range c.want {
			if r, g, _, _ := got.At(16+32*i, 5).RGBA(); uint8(r>>8) != want || r != g {
				t.Errorf("%s: pixel of half %d is %d, want %d", name, i, r>>8, want)
			}
		}
	}
}

// Around a mask that repaints nothing there is no part to compute, and A1111 takes the whole image.
func TestSDBlankMask(t *testing.T) {
	b := sdBench(t, nil)
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	init := sdPNG(t, 96, 64)
	for _, c := range []struct {
		value   uint8
		fields  string
		inpaint bool
	}{
		{0, ``, false}, {255, `,"inpainting_mask_invert":1`, false}, {255, ``, true}, {0, `,"inpaint_full_res":false`, true}, {0, `,"inpainting_mask_invert":1`, true},
	} {
		mask := painted(t, 8, 8, func(int, int) color.NRGBA { return color.NRGBA{c.value, c.value, c.value, 255} })
		a := decodeSD(t, b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+init+`"],"mask":"`+mask+`","steps":4,"width":64,"height":64`+c.fields+`}`))
		warned := slices.ContainsFunc(a.info.Warnings, func(w string) bool { return strings.Contains(w, "mask is blank") })
		if is := got.Request.Mask != nil; is != c.inpaint || warned == c.inpaint || !is && got.Request.Image.Bounds() != image.Rect(0, 0, 64, 64) {
			t.Errorf("%d%s: a mask %v of an image of %v, warnings %q", c.value, c.fields, is, got.Request.Image.Bounds(), a.info.Warnings)
		}
	}
}

// Several images make a batch, each from one of them.
func TestSDInitImages(t *testing.T) {
	b := sdBench(t, func(c *Config) { c.MaxBatch = 4 })
	list := b.sdTaken()
	first, second := sdPNG(t, 64, 64), sdPNG(t, 96, 64)
	mask := leftWhite(t, 64, 64)
	for _, masked := range []bool{false, true} {
		list.jobs = nil
		fields := ``
		if masked {
			fields = `,"mask":"` + mask + `","include_init_images":true`
		}
		a := decodeSD(t, b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+first+`","`+second+`"],"batch_size":3,"n_iter":2,"seed":5,"steps":4,"width":64,"height":64`+fields+`}`))
		if len(a.Images) != 4 || !slices.Equal(a.info.AllSeeds, []uint64{5, 6, 7, 8}) || a.info.BatchSize != 2 {
			t.Errorf("%d images, %+v", len(a.Images), a.info)
		}
		var sizes []string
		for _, j := range list.jobs {
			sizes = append(sizes, fmt.Sprint(j.Request.Image.Bounds().Max))
		}
		want := "(64,64) (64,64) (64,64) (64,64)"
		if masked {
			want = "(64,64) (96,64) (64,64) (96,64)"
		}
		if got := strings.Join(sizes, " "); got != want {
			t.Errorf("masked %v: images of %s, want %s", masked, got, want)
		}
		for i, j := range list.jobs {
			wantImage := decodeBase64(t, []string{first, second}[i%2])
			if !masked {
				wantImage = sdResize(sdStretch, wantImage, 64, 64)
			}
			if diff := cmp.Diff(wantImage, j.Request.Image); diff != "" {
				t.Errorf("masked %v: image %d: %.200s", masked, i, diff)
			}
		}
		if kept, _ := a.Parameters["mask"].(string); (kept == mask) != masked {
			t.Errorf("masked %v: the answer's mask is %.60v", masked, a.Parameters["mask"])
		}
		if n := b.imageCount(t); n != 0 {
			t.Errorf("%d images are left", n)
		}
	}
}
