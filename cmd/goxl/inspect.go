package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/hub"
)

var inspectCommand = command{
	name: "inspect", summary: "say what a model, folder, file or image is, and what is wrong with it", synopsis: "DIR|FILE|demo|synth:NAME [flags]",
	notes: `Lists components with their tensors, opens a model as generate does and runs one step of its
smallest image, for which it reads all weights. Where that fails, it names every configuration, tensor
and file that is wrong. The exit status is 0 only if generate or refine can use what was inspected.
Of an adapter, an embedding, a VAE or another part, it says which flag takes it.
Of an image, a PNG, JPEG or WebP file, it prints the parameters that are stored in it.`,
	operand: "DIR, FILE, demo or synth:NAME",
	define: func(fs *flag.FlagSet) action {
		i := &inspection{}
		fs.StringVar(&i.variant, "variant", "", variantUsage)
		return i.run
	},
}

// inspection is the flags of inspect, and what it finds.
type inspection struct {
	variant  string
	device   kernels.Device // to open with
	try      func(*sdxl.Model) error
	rows     []row
	texts    []imagefile.Text // of an image
	notes    []string
	problems []string
}

// row is a line of the table of components.
type row struct{ component, class, file, dtypes, tensors, parameters, size string }

func (i *inspection) problem(err error) { i.problems = append(i.problems, err.Error()) }

func (i *inspection) run(ctx context.Context, s streams, path string) (err error) {
	device, err := cpu.New(cpu.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	i.device = device
	i.try = func(p *sdxl.Model) error { return p.Trial(ctx) }

	var facts [][2]string
	switch {
	case path == cli.Demo:
		facts = i.embedded()
	case strings.HasPrefix(path, "synth:"):
		facts, err = i.synthetic(path)
	case isImage(path):
		facts, err = i.image(path)
	default:
		facts, err = i.stored(path)
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	i.print(s.out, path, facts)
	if n := len(i.problems); n > 0 {
		return fmt.Errorf("%s: %s", path, plural(n, "problem"))
	}
	return nil
}

func (i *inspection) synthetic(path string) ([][2]string, error) {
	if name := strings.TrimPrefix(path, "synth:"); !slices.Contains(sdxl.SyntheticNames(), name) {
		return nil, cli.Usagef("%s: must be synth: and one of %s", path, strings.Join(sdxl.SyntheticNames(), ", "))
	}
	facts := [][2]string{{"kind", "a synthetic model, with random (deterministic) weights"}}
	return append(facts, i.open(path)...), nil
}

// stored inspects what lies on disk. The error is a path that can't be looked at.
func (i *inspection) stored(path string) ([][2]string, error) {
	kind, err := weights.Recognise(path)
	if err != nil {
		var damaged *weights.FileError
		var config *weights.ConfigError
		if errors.As(err, &damaged) || errors.As(err, &config) {
			i.problem(err)
			return [][2]string{{"kind", "damaged"}}, nil
		}
		return nil, err
	}
	if kind.Form == weights.HubName {
		name, err := hub.ParseName(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %v", path, kind)
		}
		cached, err := (&hub.Client{Settings: hub.FromEnvironment()}).Find(name)
		if err != nil {
			return nil, fmt.Errorf("no such file or folder, and of the hub: %w", err)
		}
		return i.stored(cached)
	}
	facts := append([][2]string{{"kind", kind.String()}}, i.shards(path)...)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if kind.Family == weights.ESRGAN && !info.IsDir() {
		facts = append(facts, i.upscaler(path)...)
	}
	flag, more := kind.Flag()
	takes := flag
	if more != "" {
		takes = strings.TrimPrefix(flag+", "+more, ", ")
	}
	switch {
	case kind.Form == weights.ModelFolder:
		return append(facts, i.folder(path, kind)...), nil
	case kind.Form == weights.Checkpoint && flag != "", kind.Form == weights.BareUNet && flag != "":
		return append(facts, i.single(path, takes)...), nil
	case info.IsDir():
		i.parts(path)
	case kind.Form != weights.UnknownForm, strings.EqualFold(filepath.Ext(path), ".safetensors"), len(facts) > 1:
		i.file(path, kind.Form == weights.LoRA || kind.Form == weights.EmbeddingForm)
	}
	switch {
	case flag != "":
		facts = append(facts, i.control(path, kind)...)
		facts = append(facts, [2]string{"flag", takes})
	case more != "":
		i.problem(fmt.Errorf("goxl takes no %v: %s", kind.Family, more))
	default:
		i.problem(errors.New("goxl takes model folders in diffusers' layout, SDXL checkpoints in one file and what goes with them, and this is none"))
	}
	return facts, nil
}

// shards are the files that an index names; none of what is no index.
func (i *inspection) shards(path string) (facts [][2]string) {
	if !weights.IsShardIndex(path) {
		return nil
	}
	c, err := weights.OpenComponent(path)
	if err != nil {
		i.problem(err)
		return nil
	}
	for _, f := range c.Files() {
		facts = append(facts, [2]string{"shard", fmt.Sprintf("%s, %s", filepath.Base(f.Path()), plural(len(f.Names()), "tensor"))})
	}
	if err := c.Close(); err != nil {
		i.problem(err)
	}
	return facts
}

// parts lists the safetensors files of a folder that is no model.
func (i *inspection) parts(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil { // a folder whose name is no pattern
		i.problem(err)
	}
	for _, f := range files {
		i.file(f, false)
	}
}

// file lists one file of tensors, and of a small one names those with NaN or Inf.
func (i *inspection) file(path string, read bool) {
	c, err := weights.OpenComponent(path)
	if err != nil {
		i.problem(err)
		return
	}
	i.rows = append(i.rows, describe("-", "-", c))
	for _, t := range c.Names() {
		if !read {
			break
		}
		if dtype, _, data, err := c.Tensor(t); err == nil && !weights.Finite(dtype, data) {
			i.problem(fmt.Errorf("tensor %s holds NaN or Inf", t))
		}
	}
	if err := c.Close(); err != nil {
		i.problem(err)
	}
}

// open opens the whole model as generate does, which finds what doesn't fit together.
func (i *inspection) open(path string) [][2]string {
	host, err := sdxl.NewHost(i.device, nil)
	if err != nil {
		i.problem(err)
		return nil
	}
	p, err := cli.OpenModel(context.Background(), path, sdxl.Options{Host: host, Variant: i.variant, Log: slog.New(noteTaker{i})})
	if err != nil {
		i.problem(err)
		return nil
	}
	info := p.Info()
	i.trial(p)
	if err := p.Close(); err != nil {
		i.problem(err)
	}
	role := "base: text-to-image and image-to-image (goxl generate)"
	if info.Refiner {
		role = "refiner: image-to-image (goxl refine, goxl generate -refiner)"
	}
	return [][2]string{
		{"role", role},
		{"default size", fmt.Sprintf("%dx%d pixels, multiples of %d", info.Width, info.Height, info.ScaleFactor)},
		{"scheduler", info.Scheduler},
		{"parameters", count(info.Parameters)},
	}
}

func (i *inspection) print(w io.Writer, path string, facts [][2]string) {
	fmt.Fprintln(w, path)
	for _, f := range facts {
		fmt.Fprintf(w, "  %-14s%s\n", f[0], f[1])
	}
	if len(i.rows) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  component\tclass\tfile\ttypes\ttensors\tparameters\tsize")
		for _, r := range i.rows {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.component, r.class, r.file, r.dtypes, r.tensors, r.parameters, r.size)
		}
		t.Flush() // to w, whose errors are nobody's to act on, as elsewhere here
	}
	i.printTexts(w)
	for _, list := range []struct {
		title string
		lines []string
	}{{"notes", i.notes}, {"problems", i.problems}} {
		if len(list.lines) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", list.title)
		for _, line := range list.lines {
			fmt.Fprintf(w, "  - %s\n", line)
		}
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
