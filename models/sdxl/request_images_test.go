package sdxl

import (
	"image"
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
