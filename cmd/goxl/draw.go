package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// paths are the names of the images: out itself, or out-0.png, out-1.png … of several.
func (g *generateFlags) paths() []string { return numbered(g.out, g.images()) }

// numbered are the names of so many files: name itself, or with a number behind each.
func numbered(name string, n int) []string {
	if n == 1 {
		return []string{name}
	}
	ext := filepath.Ext(name)
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), i, ext))
	}
	return list
}

// outputs are what -o and, last, -save-latents name, as they are now.
func (g *generateFlags) outputs(s streams) ([]output, error) {
	var list []output
	for _, path := range g.paths() {
		o, err := s.resolve("o", path)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	if g.saveLatents != "" {
		o, err := s.resolve("save-latents", g.saveLatents)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

// checkOutputs makes sure, before anything is computed, that the results can be written.
func (g *generateFlags) checkOutputs(s streams) error {
	if g.out == "" {
		return cli.Usagef(`-o "": must be the name of a file, or - for standard output`)
	}
	if n := g.images(); n > 1 {
		one, err := s.resolve("o", g.out)
		if err != nil {
			return err
		}
		if one.kind != regularFile {
			return cli.Usagef("-n %d: must be 1 with -o %s, which is no file and takes one image", n, g.out)
		}
	}
	list, err := g.outputs(s)
	if err != nil {
		return err
	}
	previews, err := g.previewOutputs(s)
	if err != nil {
		return err
	}
	list = append(list, previews...)
	for i, o := range list {
		for _, other := range list[:i] {
			if o.same(other) {
				return cli.Usagef("-%s %s: must differ from -%s", o.flag, o.name, other.flag)
			}
		}
		if err := o.checkExtension(map[string]string{"o": ".png", "save-latents": ".safetensors", "preview": ".jpg"}[o.flag]); err != nil {
			return err
		}
		if err := o.check(s); err != nil {
			return err
		}
	}
	return nil
}

// options are what models are opened with, but for the host. Their warnings are shown even with -quiet.
func (g *generateFlags) options(precision kernels.DType, s streams) sdxl.Options {
	level := slog.LevelInfo
	if g.quiet {
		level = slog.LevelWarn
	}
	return sdxl.Options{Precision: precision, Variant: g.variant, Log: logTo(s.err, level)}
}

// notes is where informative lines go.
func (g *generateFlags) notes(s streams) io.Writer {
	if g.quiet {
		return io.Discard
	}
	return s.err
}

// compute runs work with progress on the screen.
func (g *generateFlags) compute(s streams, work func(sdxl.Request) (*sdxl.Result, error)) (*sdxl.Result, error) {
	if g.preset != "" {
		fmt.Fprintln(g.notes(s), g.preset)
	}
	outputs, err := g.previewOutputs(s)
	if err != nil {
		return nil, err
	}
	r := g.request
	r.Preview = g.previews(s.err, outputs)
	if g.quiet {
		return work(r)
	}
	p := newProgress(s.err, isTerminal(s.err), g.steps)
	defer p.stop()
	r.Progress = p.step
	return work(r)
}

// write encodes everything, then writes it, and prints each path once the file is whole: on standard output, unless
// that is one of the outputs.
func (g *generateFlags) write(ctx context.Context, s streams, result *sdxl.Result) error {
	for i, warning := range result.Warnings {
		if !slices.Contains(result.Warnings[:i], warning) { // each text encoder says that it cut the prompt
			fmt.Fprintf(s.err, "warning: %s\n", warning)
		}
	}
	source := ""
	if g.source() != "" {
		source = filepath.Base(g.source())
	}
	var files [][]byte
	for i, img := range result.Images {
		texts := imagefile.Parameters{Parameters: result.Parameters, Image: i, Source: source, Version: cli.Version()}.Texts()
		data, err := imagefile.Encode(img, texts)
		if err != nil {
			return err
		}
		files = append(files, data)
	}
	if g.saveLatents != "" {
		data, err := encodeLatents(result.Latents)
		if err != nil {
			return err
		}
		files = append(files, data)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	outputs, err := g.outputs(s)
	if err != nil {
		return err
	}
	list := s.out
	if slices.ContainsFunc(outputs, func(o output) bool { return o.kind == standardOutput }) {
		list = g.notes(s)
	}
	for i, o := range outputs {
		if err := o.write(ctx, s, files[i]); err != nil {
			return err
		}
		if o.kind != standardOutput {
			fmt.Fprintln(list, o.name)
		}
	}
	return nil
}

// noteOpened prints what was opened, and how long that took; of the embedded model also what it is, since its images
// are no measure of SDXL's.
func noteOpened(notes io.Writer, info sdxl.Info, device kernels.Info, since time.Time) {
	fmt.Fprintf(notes, "%s opened in %v: %s parameters, on %s (%s)\n", info.Path, seconds(time.Since(since)), count(info.Parameters), device.Name, device.Detail)
	if info.Path == cli.Demo {
		fmt.Fprintln(notes, cli.DemoNotice)
	}
}
