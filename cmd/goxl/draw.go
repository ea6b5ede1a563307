package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// paths are the names of the pictures: out itself, or out-0.png, out-1.png … of several.
func (d *drawing) paths() []string {
	if d.count == 1 {
		return []string{d.out}
	}
	ext := filepath.Ext(d.out)
	var list []string
	for i := range d.count {
		list = append(list, fmt.Sprintf("%s-%d%s", strings.TrimSuffix(d.out, ext), i, ext))
	}
	return list
}

// outputs are what -o and, last, -save-latents name, as they are now.
func (d *drawing) outputs(s streams) ([]output, error) {
	var list []output
	for _, path := range d.paths() {
		o, err := s.resolve("o", path)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	if d.saveLatents != "" {
		o, err := s.resolve("save-latents", d.saveLatents)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

// checkOutputs makes sure, before anything is computed, that the results can be written.
func (d *drawing) checkOutputs(s streams) error {
	if d.out == "" {
		return cli.Usagef(`-o "": must be the name of a file, or - for standard output`)
	}
	if d.count > 1 {
		one, err := s.resolve("o", d.out)
		if err != nil {
			return err
		}
		if one.kind != regularFile {
			return cli.Usagef("-n %d: must be 1 with -o %s, which is no file and takes one image", d.count, d.out)
		}
	}
	list, err := d.outputs(s)
	if err != nil {
		return err
	}
	for i, o := range list {
		for _, other := range list[:i] {
			if o.same(other) {
				return cli.Usagef("-%s %s: must differ from -%s", o.flag, o.name, other.flag)
			}
		}
		extension := ".png"
		if o.flag == "save-latents" {
			extension = ".safetensors"
		}
		if err := o.checkExtension(extension); err != nil {
			return err
		}
		if err := o.check(s); err != nil {
			return err
		}
	}
	return nil
}

// options are what models are opened with. Their warnings are told even with -quiet.
func (d *drawing) options(device kernels.Device, precision kernels.DType, s streams) sdxl.Options {
	level := slog.LevelInfo
	if d.quiet {
		level = slog.LevelWarn
	}
	return sdxl.Options{Device: device, Precision: precision, Variant: d.variant, Log: logTo(s.err, level)}
}

// logTo logs for people who are watching: without times, and without the level of what is nice to know.
func logTo(w io.Writer, least slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: least, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey && a.Value.Any() == slog.LevelInfo) {
			return slog.Attr{}
		}
		return a
	}}))
}

// notes is where to tell what is nice to know.
func (d *drawing) notes(s streams) io.Writer {
	if d.quiet {
		return io.Discard
	}
	return s.err
}

// drawn is what a run was asked and gave.
type drawn struct {
	request sdxl.Request
	result  *sdxl.Result
	info    sdxl.Info // of the model that drew, or began
	source  string    // the picture that it began with; "" is none
	refiner string    // the model that drew the last steps; "" is none
	end     float64   // where the run ended or the refiner took over, a fraction of the steps; 0 is the end
}

// compute runs work with progress on the screen.
func (d *drawing) compute(s streams, r *sdxl.Request, work func() (*sdxl.Result, error)) (*sdxl.Result, error) {
	if d.quiet {
		return work()
	}
	p := newProgress(s.err, isTerminal(s.err), r.Steps)
	defer p.stop()
	r.Progress = p.step
	return work()
}

// write encodes everything, then writes it, and tells each path once the file is whole: on standard output, unless that
// is one of the outputs.
func (d *drawing) write(ctx context.Context, s streams, w drawn) error {
	for _, warning := range w.result.Warnings {
		fmt.Fprintf(s.err, "warning: %s\n", warning)
	}
	var files [][]byte
	for i, img := range w.result.Images {
		facts := imagefile.Facts{
			Prompt: w.request.Prompt, Negative: w.request.Negative, Seed: w.result.Seed, Steps: w.request.Steps, Guidance: w.request.Guidance,
			Scheduler: w.request.Scheduler, Width: img.Bounds().Dx(), Height: img.Bounds().Dy(), Strength: w.request.Strength, Source: w.source,
			Refiner: w.refiner, DenoisingEnd: w.end, Model: filepath.Base(w.info.Path), Version: cli.Version(),
		}
		if facts.Scheduler == "" {
			facts.Scheduler, facts.Sampler = w.info.Scheduler, w.info.Sampler
		}
		texts := facts.Texts()
		if n := len(w.result.Images); n > 1 { // one of a batch can't be drawn alone
			texts = append(texts, imagefile.Text{Key: "num_images_per_prompt", Value: strconv.Itoa(n)}, imagefile.Text{Key: "image_index", Value: strconv.Itoa(i)})
		}
		data, err := imagefile.Encode(img, texts)
		if err != nil {
			return err
		}
		files = append(files, data)
	}
	if d.saveLatents != "" {
		data, err := encodeLatents(w.result.Latents)
		if err != nil {
			return err
		}
		files = append(files, data)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	outputs, err := d.outputs(s)
	if err != nil {
		return err
	}
	told := s.out
	if slices.ContainsFunc(outputs, func(o output) bool { return o.kind == standardOutput }) {
		told = d.notes(s)
	}
	for i, o := range outputs {
		if err := o.write(ctx, s, files[i]); err != nil {
			return err
		}
		if o.kind != standardOutput {
			fmt.Fprintln(told, o.name)
		}
	}
	return nil
}

// tellOpened notes what was opened, and since when that took; of the embedded model also what it is, since its images
// are no measure of real ones.
func tellOpened(notes io.Writer, info sdxl.Info, device kernels.Info, since time.Time) {
	fmt.Fprintf(notes, "%s opened in %v: %s parameters, on %s (%s)\n", info.Path, seconds(time.Since(since)), count(info.Parameters), device.Name, device.Detail)
	if info.Path == cli.Demo {
		fmt.Fprintln(notes, cli.DemoNotice)
	}
}
