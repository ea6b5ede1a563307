package sdxl

import (
	"errors"
	"image"
	"slices"
	"strings"
	"testing"
)

// Every image of a request has a field's name by which it can be set again, in a copy that leaves the other one alone.
func TestRequestImages(t *testing.T) {
	pixel := func(side int) image.Image { return image.NewGray(image.Rect(0, 0, side, side)) }
	full := Request{
		Image: pixel(1), Mask: pixel(2),
		Controls:    []Control{{Path: "a", Image: pixel(3)}, {Path: "b", Image: pixel(4)}},
		T2IAdapters: []T2IAdapter{{Path: "c", Image: pixel(5)}},
		IPAdapters:  []IPAdapter{{Path: "d"}, {Path: "e", Images: []image.Image{pixel(6), pixel(7)}, Mask: pixel(8)}},
	}
	bare := Request{
		Controls: []Control{{Path: "a"}, {Path: "b"}}, T2IAdapters: []T2IAdapter{{Path: "c"}}, IPAdapters: []IPAdapter{{Path: "d"}, {Path: "e"}},
	}
	before := bare
	list := full.Images()
	if len(list) != 8 {
		t.Fatalf("%d images: %v", len(list), list)
	}
	for _, img := range list {
		if err := bare.SetImage(img.Field, img.Image); err != nil {
			t.Error(err)
		}
	}
	again := bare.Images()
	if len(again) != len(list) {
		t.Fatalf("%d images, want %d", len(again), len(list))
	}
	for i, img := range again {
		if img != list[i] {
			t.Errorf("%s has an image of %v, want %s of %v", img.Field, img.Image.Bounds(), list[i].Field, list[i].Image.Bounds())
		}
	}
	if n := len(before.Images()); n != 0 {
		t.Errorf("a copy of the request has %d of the images", n)
	}
	for _, field := range []string{
		"", "picture", "controls[2].image", "controls[-1].image", "controls[0]", "controls[0].image ", "controls[00].image",
		"t2i_adapters[1].image", "ip_adapters[2].mask", "ip_adapters[1].images[3]", "ip_adapters[1].images[-1]", "ip_adapters[1].images[0].mask",
	} {
		if err := bare.SetImage(field, pixel(1)); err == nil {
			t.Errorf("%q was set", field)
		}
	}
}

// TestTooManyPixels: images of a request have a limit together, by their sizes alone.
func TestTooManyPixels(t *testing.T) {
	t.Parallel()
	s := newModels(t).open("tiny").Spec()
	large := Blank{Size{MaxSide, MaxSide}}
	r := small()
	for range 4 {
		r.Controls = append(r.Controls, Control{Path: "x", Image: large})
	}
	if _, err := s.Resolve(r); err != nil {
		t.Errorf("4 images of %d²: %v", MaxSide, err)
	}
	for field, change := range map[string]func(*Request){
		"controls[4].image":        func(r *Request) { r.Controls = append(r.Controls, Control{Path: "x", Image: Blank{Size{1, 1}}}) },
		"ip_adapters[0].images[0]": func(r *Request) { r.IPAdapters = []IPAdapter{{Path: "x", Images: []image.Image{Blank{Size{8, 8}}}}} },
		"image":                    func(r *Request) { r.Image = Blank{Size{1 << 40, 1 << 40}} },
		"ip_adapters": func(r *Request) {
			r.Controls = nil
			r.IPAdapters = slices.Repeat([]IPAdapter{{Path: "x", Images: []image.Image{Blank{Size{8, 8}}}}}, maxPrompts+1)
		},
	} {
		r := r
		change(&r)
		_, err := s.Resolve(r)
		if bad := (*RequestError)(nil); !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: error %v", field, err)
		}
	}
}

// TestMaskWarnings: a mask that is resized is said once, whatever it is beside and however many models there are.
func TestMaskWarnings(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	m := models.open("tiny")
	warned := func(warnings []string, want string) {
		t.Helper()
		var of []string
		for _, w := range warnings {
			if strings.HasPrefix(w, "the mask, of ") {
				of = append(of, w)
			}
		}
		if !slices.Equal(of, []string{want}) {
			t.Errorf("warnings %q, want %q", of, want)
		}
	}
	r := inpainted(func(r *Request) { r.Mask = leftHalf(24, 20) })
	warned(generated(t, m, r).Warnings, "the mask, of 24×20 pixels, is resized to the image's 48×40")
	result, err := Ensemble(t.Context(), r, Expert{m, 0.5}, Expert{Model: models.open("tiny-refiner")})
	if err != nil {
		t.Fatal(err)
	}
	warned(result.Warnings, "the mask, of 24×20 pixels, is resized to the image's 48×40")
	plain := small()
	plain.LatentsOnly = true
	r.Image, r.Width, r.Height, r.ImageLatents = nil, 0, 0, generated(t, m, plain).Latents
	warned(generated(t, m, r).Warnings, "the mask, of 24×20 pixels, is resized to the result's 48×40")
}
