package lora

import (
	"strings"
	"testing"
)

func TestParseStrengths(t *testing.T) {
	const time, in, resnet0, down0, attn, deep, mid, up0, up, out = "time_embedding.linear_1.weight", "conv_in.weight", "down_blocks.0.resnets.0.conv1.weight",
		"down_blocks.0.downsamplers.0.conv.weight", "down_blocks.1.attentions.0.proj_in.weight", "down_blocks.2.attentions.1.proj_in.weight",
		"mid_block.resnets.0.conv1.weight", "up_blocks.0.attentions.2.proj_in.weight", "up_blocks.0.upsamplers.0.conv.weight", "conv_out.weight"
	all := []string{time, in, resnet0, down0, attn, deep, mid, up0, up, out}
	for _, c := range []struct {
		text     string
		te1, te2 float32
		unet     []float32 // by the names above
		rank     int
	}{
		{"", 1, 1, []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
		{"0.8", .8, .8, []float32{.8, .8, .8, .8, .8, .8, .8, .8, .8, .8}, 0},
		{" -0.5 ", -.5, -.5, []float32{-.5, -.5, -.5, -.5, -.5, -.5, -.5, -.5, -.5, -.5}, 0},
		{"0.5:2", .5, .5, []float32{2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, 0},
		{"0.5:2:16", .5, .5, []float32{2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, 16},
		{"te=0.3", .3, .3, []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
		{"0.5:te2=0.3", .5, .3, []float32{.5, .5, .5, .5, .5, .5, .5, .5, .5, .5}, 0},
		{"te2=0.3:te=0.1:unet=0", .1, .3, []float32{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0},
		{"down=0.2:mid=0.3:up=0.4", 1, 1, []float32{1, .2, .2, .2, .2, .2, .3, .4, .4, .4}, 0},
		{"in=0.2:out=0.4:unet=0.7", 1, 1, []float32{.7, .2, .2, .2, .2, .2, .7, .4, .4, .4}, 0},
		{"down0=0.1:down=0.2", 1, 1, []float32{1, .2, .1, .1, .2, .2, 1, 1, 1, 1}, 0},
		{"down2=0.1:up0=0", 1, 1, []float32{1, 1, 1, 1, 1, .1, 1, 0, 0, 1}, 0},
		{"in04=0.5:out02=0.25:in00=2:out08=3", 1, 1, []float32{1, 2, 1, 1, .5, 1, 1, .25, .25, 3}, 0},
		{"2:lbw=0.5", 1, 1, []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
		{"lbw=0,1,1,1,0.5,0.25,1,1,0.125,1,1,1", 0, 0, []float32{0, 1, 1, 1, 1, .5, .25, .125, .125, 1}, 0},
		{"lbw=0.5,9,1,1,3,4,1,1,1,7,8,1,1,2,1,1,1,1,1,6", .5, .5, []float32{.5, 9, 1, 3, 4, 7, 8, 2, 2, 6}, 0},
		{"TE=0.5:dyn=8", .5, .5, []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 8},
	} {
		s, err := ParseStrengths(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if s.TextEncoder != c.te1 || s.TextEncoder2 != c.te2 || s.Rank != c.rank {
			t.Errorf("%q: encoders %v and %v, rank %d", c.text, s.TextEncoder, s.TextEncoder2, s.Rank)
		}
		for i, name := range all {
			if got := s.For(unet, name); got != c.unet[i] {
				t.Errorf("%q: %s at %v, want %v", c.text, name, got, c.unet[i])
			}
		}
		if s.For(textEncoder, all[0]) != c.te1 || s.For(textEncoder2, all[0]) != c.te2 {
			t.Errorf("%q: the encoders are taken for the UNet", c.text)
		}
		if again, err := ParseStrengths(s.String()); err != nil || again != s {
			t.Errorf("%q: %q is read as %v, %v", c.text, s, again, err)
		}
	}
}

func TestParseStrengthsErrors(t *testing.T) {
	for text, want := range map[string]string{
		"x": `"x"`, "1:": `""`, "nan": `"nan"`, "1:inf": `"inf"`, "te=": "te=", "te=x": "a number", "te=1:te=2": "once", "in=1:down=2": "once",
		"te=1:1": `"1"`, "1:2:3:4": "numbers separated", "1:2:0.5": "rank from 1", "1:2:-1": "rank from 1", "dyn=0": "rank from 1", "dyn=1.5": "rank from 1",
		"lbw=1,2": "1, 12, 19 or 20", "lbw=a": "numbers with commas", "in09=1": "in09", "what=1": "what=1", "1e99": `"1e99"`,
	} {
		if s, err := ParseStrengths(text); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is %v, %v, want an error with %q", text, s, err, want)
		}
	}
}

// FuzzParseStrengths wants what is read to be written and read again.
func FuzzParseStrengths(f *testing.F) {
	for _, s := range []string{"", "1", "0.5:2:3", "te=1:down=0.5:lbw=1,1,1,1,1,1,1,1,1,1,1,1", "in00=0:out08=-1:dyn=4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStrengths(text)
		if err != nil {
			return
		}
		if again, err := ParseStrengths(s.String()); err != nil || again != s {
			t.Fatalf("%q: %q is read as %v, %v", text, s, again, err)
		}
	})
}
