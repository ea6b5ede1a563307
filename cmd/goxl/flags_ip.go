package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// imagePromptFlag is an -ip-adapter with the flags that go with it. Images are files that are not read yet.
type imagePromptFlag struct {
	sdxl.IPAdapter
	images []string
	mask   string
}

// registerImagePrompts adds the flags of IP-Adapters.
func (g *generateFlags) registerImagePrompts(fs *flag.FlagSet) {
	fs.Func("ip-adapter", "an image prompt by an IP-Adapter of SDXL, base or plus, safetensors or .bin: `FILE[:SCALE]`, 1 without a scale; it needs -ip-image; may be repeated, and the -ip- flags behind one belong to it", func(s string) error {
		file, scale, err := parseScaled(s)
		if err != nil {
			return err
		}
		g.imagePrompts = append(g.imagePrompts, imagePromptFlag{IPAdapter: sdxl.IPAdapter{Path: file, Scale: scale}})
		return nil
	})
	of := func(name, usage string, set func(p *imagePromptFlag, s string) error) {
		fs.Func(name, usage, func(s string) error {
			switch {
			case s == "":
				return errors.New("must be a name, or the flag absent")
			case len(g.imagePrompts) == 0:
				return errors.New("must be behind the -ip-adapter that it belongs to")
			}
			return set(&g.imagePrompts[len(g.imagePrompts)-1], s)
		})
	}
	of("ip-image", "a reference image, a PNG, JPEG or WebP `file`; may be repeated: several images of one -ip-adapter are one prompt. As many as there are adapters may also follow all of these, in their order", func(p *imagePromptFlag, s string) error {
		p.images = append(p.images, s)
		return nil
	})
	of("ip-encoder", "the adapter's image encoder, ViT-H/14 or ViT-bigG/14: the `PATH` of its folder, or of its file; one alone is for all adapters; without it a folder image_encoder beside the adapter, or ../models/image_encoder", func(p *imagePromptFlag, s string) error {
		p.Encoder = s
		return nil
	})
	of("ip-scales", "scales of the UNet's blocks in place of SCALE, as diffusers' set_ip_adapter_scale has them, as `JSON`; {\"up\": {\"block_0\": [0, 1, 0]}} takes the style alone", func(p *imagePromptFlag, s string) (err error) {
		p.Scales, err = sdxl.ParseBlockScales(s)
		return err
	})
	of("ip-mask", "where the adapter acts: white of an image `file`, resized to the result's size, of the part that is computed with -mask-padding; for other images and masks repeat -ip-adapter", func(p *imagePromptFlag, s string) error {
		p.mask = s
		return nil
	})
}

// parseScaled is FILE[:SCALE]; nil is no scale.
func parseScaled(s string) (file string, scale *float64, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		i = len(s)
	} else if list, err := parseNumbers(s[i+1:]); err == nil && len(list) == 1 {
		scale = &list[0]
	} else if _, err := os.Stat(s); err != nil && !strings.ContainsAny(s[i:], `/\`) {
		return "", nil, fmt.Errorf("%q behind the colon must be a finite number", s[i+1:])
	} else {
		i = len(s) // a colon of the name
	}
	if file = s[:i]; file == "" {
		return "", nil, errors.New("must be FILE or FILE:SCALE")
	}
	return file, scale, nil
}

// checkImagePrompts gives each adapter its images and its encoder.
func (g *generateFlags) checkImagePrompts() error {
	prompts := g.imagePrompts
	if n := len(prompts); n > 1 && len(prompts[n-1].images) == n && imagesOf(prompts[:n-1]) == 0 {
		all := prompts[n-1].images
		for i := range prompts {
			prompts[i].images = all[i : i+1]
		}
	}
	encoder, encoders := "", 0
	for _, p := range prompts {
		if p.Encoder != "" {
			encoder = p.Encoder
			encoders++
		}
	}
	for i := range prompts {
		p := &prompts[i]
		switch {
		case len(p.images) == 0:
			return cli.Usagef("-ip-adapter %s: must have an -ip-image behind it", p.Path)
		case p.Scale != nil && p.Scales != nil:
			return cli.Usagef("-ip-scales: must be absent where -ip-adapter %s has a scale, which is %s", p.Path, strconv.FormatFloat(*p.Scale, 'g', -1, 64))
		}
		if encoders == 1 {
			p.Encoder = encoder
		}
	}
	return nil
}

func imagesOf(prompts []imagePromptFlag) (n int) {
	for _, p := range prompts {
		n += len(p.images)
	}
	return n
}

// readImagePrompts reads the images.
func (g *generateFlags) readImagePrompts() error {
	for _, p := range g.imagePrompts {
		a := p.IPAdapter
		for _, path := range p.images {
			img, err := g.readImage("ip-image", path)
			if err != nil {
				return err
			}
			a.Images = append(a.Images, img)
		}
		if p.mask != "" {
			var err error
			if a.Mask, err = g.readImage("ip-mask", p.mask); err != nil {
				return err
			}
		}
		g.request.IPAdapters = append(g.request.IPAdapters, a)
	}
	return nil
}

// imagePromptFlags are the flags of an IP-Adapter's fields.
var imagePromptFlags = map[string]string{"path": "ip-adapter", "scale": "ip-adapter", "encoder": "ip-encoder", "images": "ip-image", "scales": "ip-scales", "mask": "ip-mask"}

// imagePromptFlagOf is the flag that a field such as ip_adapters[0].images[1] is from.
func imagePromptFlagOf(field string) (string, bool) {
	if !strings.HasPrefix(field, "ip_adapters") {
		return "", false
	}
	_, rest, _ := strings.Cut(field, ".")
	part, _, _ := strings.Cut(rest, ".")
	part, _, _ = strings.Cut(part, "[")
	name, ok := imagePromptFlags[part]
	return name, ok
}
