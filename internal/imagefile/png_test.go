package imagefile

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
)

func sample() *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, 5, 3))
	for y := range 3 {
		for x := range 5 {
			img.SetNRGBA(x, y, color.NRGBA{uint8(50 * x), uint8(80 * y), 7, 255})
		}
	}
	return img
}

func TestRoundTrip(t *testing.T) {
	texts := []Text{
		{"prompt", "a café\nin two lines"},
		{"negative_prompt", ""},
		{"japanese", "猫 🐈"},
		{"tab", "a\tb"},
	}
	data, err := Encode(sample(), texts)
	if err != nil {
		t.Fatal(err)
	}
	img, got, err := Decode(data, 5)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	for y := range 3 {
		for x := range 5 {
			if want, got := color.NRGBAModel.Convert(sample().At(x, y)), color.NRGBAModel.Convert(img.At(x, y)); want != got {
				t.Fatalf("pixel %d, %d is %v, want %v", x, y, got, want)
			}
		}
	}
	if _, err := png.Decode(bytes.NewReader(data)); err != nil {
		t.Errorf("image/png does not read it: %v", err)
	}
}

// Latin-1 goes to tEXt, which every reader knows, the rest to iTXt, as Pillow's add_text has it.
func TestChunkKind(t *testing.T) {
	for value, want := range map[string]string{
		"plain": "tEXt", "": "tEXt", "é ÿ": "tEXt", "a\nb": "tEXt", "a\tb": "tEXt", "a\u0085b": "tEXt",
		"猫": "iTXt", "Ā": "iTXt",
	} {
		chunk, err := Text{"k", value}.chunk()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(chunk[4:8]); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	// The bytes that the specification lays down for "Author" = "é".
	chunk, _ := Text{"Author", "é"}.chunk()
	want := "\x00\x00\x00\x08tEXtAuthor\x00\xe9"
	if string(chunk[:len(chunk)-4]) != want {
		t.Errorf("chunk %q, want %q and a checksum", chunk, want)
	}
}

func TestUnstorableCharacters(t *testing.T) {
	data, err := Encode(sample(), []Text{{"k", "a\x00b\xffc"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Texts(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Text{{"k", "a\uFFFDb\uFFFDc"}}; !cmp.Equal(want, got) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBadKeys(t *testing.T) {
	for _, key := range []string{"", " a", "a ", "é", "a\x00b", strings.Repeat("k", 80)} {
		if _, err := Encode(sample(), []Text{{key, "v"}}); err == nil {
			t.Errorf("key %q was taken", key)
		}
	}
	if _, err := Encode(sample(), []Text{{strings.Repeat("k", 79), "v"}}); err != nil {
		t.Error(err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole, err := Encode(sample(), []Text{{"prompt", "猫"}})
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[bytes.Index(flipped, []byte("iTXt"))+12] ^= 1
	tooLong := bytes.Clone(whole)
	copy(tooLong[bytes.Index(tooLong, []byte("iTXt"))-4:], "\xff\xff\xff\xff")
	for name, data := range map[string][]byte{
		"empty": nil, "not PNG": []byte("GIF89a"), "cut in the pixels": whole[:len(whole)-20], "cut before IEND": whole[:len(whole)-12],
		"checksum": flipped, "length": tooLong,
	} {
		if _, _, err := Decode(data, 5); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := Texts(data); err == nil && name != "cut in the pixels" {
			t.Errorf("%s: no error from Texts", name)
		}
	}
	if _, _, err := Decode(whole, 4); err == nil || !strings.Contains(err.Error(), "at most 4") {
		t.Errorf("an image that is too large: %v", err)
	}
}

// spliced puts chunks after the header.
func spliced(data []byte, chunks ...[]byte) []byte {
	return bytes.Join([][]byte{data[:33], bytes.Join(chunks, nil), data[33:]}, nil)
}

func TestParameters(t *testing.T) {
	p := Parameters{Version: "v", Parameters: sdxl.Parameters{
		Task: sdxl.TextToImage, Prompts: []sdxl.Prompt{{Prompt: "p", NegativePrompt: new("")}}, ImagesPerPrompt: 1, Images: 1, Seed: 1<<64 - 1, Steps: 50, Guidance: 7.5,
		Scheduler: "ddim", Width: 8, Height: 16, OriginalSize: sdxl.Size{Height: 16, Width: 8}, Model: "m", ModelHash: "abc", Device: "cpu", Precision: "fp32",
	}}
	want := []Text{{"parameters", p.Infotext()}, {"prompt", "p"}, {"negative_prompt", ""}, {"seed", "18446744073709551615"}, {"num_inference_steps", "50"},
		{"guidance_scale", "7.5"}, {"scheduler", "ddim"}, {"size", "8x16"}, {"model", "m"}, {"model_hash", "abc"}, {"device", "cpu"}, {"precision", "fp32"}, {"version", "v"}}
	if diff := cmp.Diff(want, p.Texts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p = Parameters{Image: 3, Source: "x.png", Parameters: sdxl.Parameters{
		Task: sdxl.ImageToImage, Prompts: []sdxl.Prompt{{Prompt: "p"}, {Prompt: "q", Prompt2: "r"}}, ImagesPerPrompt: 2, Images: 4, Seeds: []uint64{1, 2, 3, 4},
		GuidancePerStep: []float64{2, 1}, ClipSkip: 1, Strength: 0.3, DenoisingEnd: 0.8, Crop: [2]int{1, 2}, TargetSize: sdxl.Size{Height: 8, Width: 9},
		NoiseGiven: true, Experts: []sdxl.ExpertParameters{{Model: "m"}, {Model: "n"}}, SchedulerClass: "EulerDiscreteScheduler",
	}}
	want = []Text{{"parameters", p.Infotext()}, {"prompt", "q"}, {"prompt_2", "r"}, {"seed", "4"}, {"num_inference_steps", "0"}, {"guidance_scale", "[2,1]"},
		{"scheduler", "EulerDiscreteScheduler"}, {"strength", "0.3"}, {"image", "x.png"}, {"refiner", "n"}, {"denoising_end", "0.8"}, {"size", "0x0"},
		{"clip_skip", "1"}, {"latents_given", "true"}, {"target_size", "[8,9]"}, {"crops_coords_top_left", "[1,2]"}, {"model", ""}, {"version", ""},
		{"num_images_per_prompt", "2"}, {"image_index", "3"}}
	if diff := cmp.Diff(want, p.Texts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
