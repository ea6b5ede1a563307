// Command server answers HTTP requests with images of Stable Diffusion XL.
//
//	server -model DIR [-refiner DIR] [-addr 127.0.0.1:8000] [-images images] [-journal FILE] [-keep 168h] [-queue 64]
//	server -addr :8000 -tokens FILE [-tls-cert FILE -tls-key FILE] [-cors ORIGIN] [-base-path /x]
//	       [-trusted-proxies NETWORK]
//	server token NAME [-role admin] [-images-per-day N] [-jobs N] [-priority N]
//	server -models DIR [-model NAME=PATH]... [-models-memory 64GiB]
//	server -nats embedded -nats-listen HOST:PORT -nats-token FILE [-role api]
//	server -role worker -nats nats://HOST:PORT -nats-token FILE
//	server -model FILE [-base NAME] [-unet FILE] [-vae PATH] [-lora-dir DIR] [-embedding FILE[:NAME]]
//	       [-prompt-style a1111] [-control-dir DIR] [-ip-adapter-dir DIR] [-upscaler-dir DIR]
//
// See package server for what it answers, and -h for every flag. On NVIDIA cards it computes in processes of its own,
// one for each card, which are this program with the first argument "engine": see package server/process for why.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// options are the flags.
type options struct {
	models
	access
	roles
	folders
	address, images string
	journal         string // "" is in images
	keep            time.Duration
	keepBytes       int64
	inversions      []string // -embedding
	style           prompt.Style
	preset          string
	queue, together int
	metrics         *string
	drain           time.Duration
	watermark       bool

	pixels, steps, batch int
	timeout, stall       time.Duration
}

// run is the command; it returns the exit status. All that it has to say is for people, so it goes to stderr.
func run(args []string, stderr io.Writer) int {
	if len(args) > 0 && args[0] == workerCommand {
		return runEngine(args[1:], stderr)
	}
	if len(args) > 0 && args[0] == tokenCommand {
		return runToken(args[1:], os.Stdout, stderr)
	}
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var o options
	o.models.register(fs)
	o.access.register(fs)
	o.roles.register(fs)
	o.folders.register(fs)
	fs.StringVar(&o.address, "addr", "127.0.0.1:8000", "`host:port` to listen at; port 0 takes a free one, which the log tells")
	fs.StringVar(&o.images, "images", "images", "`folder` of the images, made if missing")
	fs.StringVar(&o.journal, "journal", "", "`file` of the jobs, made if missing, which one server has at a time; by default jobs.db in the folder of images")
	fs.DurationVar(&o.keep, "keep", 7*24*time.Hour, "`time` that jobs and images are kept after they have ended or come; 0 is for ever")
	fs.Func("keep-bytes", "most bytes that the images of jobs may take, a `size` such as 50GiB or a number of bytes, beyond which the oldest jobs go with their images; 0, the default, is no limit", func(text string) (err error) {
		o.keepBytes, err = parseKeepBytes(text)
		return err
	})
	fs.Func("embedding", "a `FILE[:NAME]` of a textual inversion, which the prompts of every request may name by NAME, with prompt_style comfy by embedding:NAME; without NAME the file's own without its extension; may be repeated", func(s string) error {
		o.inversions = append(o.inversions, s)
		return nil
	})
	fs.Func("prompt-style", "how the prompts of requests without a prompt_style are read, a `name`: plain, the default, is diffusers' (no syntax, cut at 77 tokens); long is plain text of any length; a1111, comfy and compel have the syntax of A1111, ComfyUI and compel", func(s string) error {
		o.style = prompt.Style(s)
		return oneOf(prompt.Styles(), o.style)
	})
	fs.Func("preset", "`name` of what a few-step or flow-matching model is run with, scheduler, steps and guidance, for requests to the base that have no preset of their own; without it by the name of a file of loras, -unet or -model, or by the SHA-256 of a LoRA; none turns that off; one of "+strings.Join(sdxl.PresetNames(), ", "), func(s string) error {
		o.preset = s
		return oneOf(sdxl.PresetNames(), s)
	})
	fs.IntVar(&o.queue, "queue", 64, "`jobs` that may wait while every device computes, those of requests that wait for their image among them; the next is answered 503")
	fs.IntVar(&o.together, "batch", 1, "most `jobs` that a device of this process computes together, of those that wait and agree in model, adapters, size, steps, scheduler, guidance and number of images; it pays on a card, the more the smaller the images are, and costs memory; there an image may differ in its last bits by what was computed with it, which it never does with 1; on a CPU images stay bit for bit what they are, and nothing is gained")
	fs.IntVar(&o.pixels, "max-pixels", 0, "most `pixels`, width × height, that a request may ask for; 0 is as many as take no longer than -request-timeout in one step, 4194304 (2048×2048) at most")
	fs.IntVar(&o.steps, "max-steps", 0, "most `steps` that a request may ask for; 0 is as many as take no longer than -request-timeout at the request's size, 200 at most, by a measurement at the start, which the log tells")
	fs.IntVar(&o.batch, "max-batch", 4, "most `images` that one job may have the model compute together, its n; /generate and /refine ask for one")
	fs.DurationVar(&o.timeout, "request-timeout", 10*time.Minute, "`time` that a job may compute, from when it has its device, times the jobs that -batch puts together with it; one that takes longer fails, its client is answered 504; 0 is no limit")
	fs.DurationVar(&o.stall, "stall-timeout", 2*time.Minute, "`time` that a card may take for a step beyond what is expected of it; then its process is killed and started again, and the image computed anew, by another card if one is free")
	fs.DurationVar(&o.drain, "drain", time.Minute, "`time` for queued work after SIGTERM or an interrupt; a second signal ends it at once; jobs that wait, and those that are cut off, are computed by the next server with the same -journal")
	o.metrics = metricsFlag(fs)
	fs.BoolVar(&o.watermark, "watermark", true, "put diffusers' invisible watermark into images; -watermark=false leaves it out")

	err := cli.Parse(fs, args)
	if err == nil {
		err = o.roles.check(fs)
	}
	if err == nil {
		err = o.checkPreviews()
	}
	if err == nil {
		err = serve(o, stderr)
	}
	return cli.Exit(fs, err)
}

// serve runs the server until a signal or an error ends it.
func serve(o options, stderr io.Writer) (err error) {
	switch {
	case o.model == "":
		return cli.Usagef("-model is empty: must be demo, a DIR, a checkpoint in one file, ORG/NAME of the hub, synth:base or synth:tiny")
	case o.queue < 0:
		return cli.Usagef("-queue %d: must be 0 or more", o.queue)
	case o.together < 1 || o.together > sdxl.MaxCount:
		return cli.Usagef("-batch %d: must be 1 to %d", o.together, sdxl.MaxCount)
	case o.keep < 0:
		return cli.Usagef("-keep %v: must be 0 or more", o.keep)
	case o.keepBytes < 0:
		return cli.Usagef("-keep-bytes %d: must be 0 or more", o.keepBytes)
	case o.drain <= 0:
		return cli.Usagef("-drain %v: must be more than 0", o.drain)
	case o.pixels < 0 || o.pixels > sdxl.MaxSide*sdxl.MaxSide:
		return cli.Usagef("-max-pixels %d: must be 0 to %d", o.pixels, sdxl.MaxSide*sdxl.MaxSide)
	case o.steps < 0 || o.steps > server.MostSteps:
		return cli.Usagef("-max-steps %d: must be 0 to %d", o.steps, server.MostSteps)
	case o.batch < 1 || o.batch > sdxl.MaxCount:
		return cli.Usagef("-max-batch %d: must be 1 to %d", o.batch, sdxl.MaxCount)
	case o.timeout < 0:
		return cli.Usagef("-request-timeout %v: must be 0 or more", o.timeout)
	case o.stall <= 0:
		return cli.Usagef("-stall-timeout %v: must be more than 0", o.stall)
	}
	if err := o.access.check(o.address); err != nil {
		return err
	}
	if err := o.checkFolders(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = o.find(log)
	if err == nil {
		err = o.fetch(ctx, o.role == roleAPI, log)
	}
	stop()
	if err != nil {
		return err
	}
	specs, err := o.specs()
	if err != nil {
		return err
	}
	further, err := o.further()
	if err != nil {
		return err
	}
	inversions, err := cli.ReadTextualInversions(o.inversions)
	if err != nil {
		return err
	}
	var devices devices
	if o.role != roleAPI {
		if devices, err = o.devices(log, stderr); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, devices.Close()) }()
	}
	if o.role == roleWorker {
		return o.work(log, append([]server.Model{{Name: o.first().called(), Specs: specs}}, further...), inversions, devices)
	}
	remotes, err := o.remotes(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remotes.Close()) }()
	tracer, endTraces, err := openTraces(log, cli.Version())
	if err != nil {
		return err
	}
	defer endTraces()
	c := server.Config{
		Load: devices.load, Devices: devices.names(), Remote: remotes.forServer(),
		Specs: specs, Name: o.first().called(), Models: further,
		TextualInversions: inversions, PromptStyle: o.style, Preset: o.preset,
		Schedulers: scheduler.Names(),
		Images:     o.images, Journal: cmp.Or(o.journal, filepath.Join(o.images, "jobs.db")), Keep: o.keep, KeepBytes: o.keepBytes,
		Queue: o.queue, Batch: o.together, Drain: o.drain, Watermark: o.watermark,
		MaxPixels: o.pixels, MaxSteps: o.steps, MaxBatch: o.batch, RequestTimeout: o.timeout,
		Version: cli.Version(), Log: log, Metrics: *o.metrics == metricsOn, Tracer: tracer,
	}
	o.fill(&c)
	o.fillFolders(&c)
	s, err := server.New(c)
	if err != nil {
		return err
	}
	endMetrics, err := serveMetrics(s, *o.metrics, log)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer endMetrics()
	l, err := net.Listen("tcp", o.address)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	for _, d := range devices.infos {
		log.Info("device", slog.String("name", d.Name), slog.String("detail", d.Detail), slog.String("kernels", d.Variant), slog.Int64("memory_mib", d.Memory>>20))
	}
	log.Info("listening", slog.String("address", o.url(l.Addr())), slog.String("model", o.first().called()),
		slog.String("devices", strings.Join(c.Devices, ",")), slog.String("version", c.Version))

	if o.model == cli.Demo {
		log.Info(cli.DemoNotice)
	}
	ctx, stopWatching := onSignals(s.Stop, log)
	defer stopWatching()
	return s.Run(ctx, l)
}

// oneOf is the error of a value that is not in a list.
func oneOf[T ~string](list []T, value T) error {
	if slices.Contains(list, value) {
		return nil
	}
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = string(name)
	}
	return fmt.Errorf("must be one of %s", strings.Join(names, ", "))
}

// asEngine keeps what came with an error from becoming an engine.
func asEngine[E engine.Engine](e E, err error) (engine.Engine, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}

// parseKeepBytes reads -keep-bytes: the name says the unit of a bare number, which cli.Size refuses.
func parseKeepBytes(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	var size cli.Size
	if size.Set(text) != nil {
		return 0, errors.New("must be a number of bytes, or one with a unit, such as 50GiB")
	}
	return int64(size), nil
}

// onSignals gives a context that the first signal ends, by which the process drains; the second stops it. The function that it returns
// gives the signals back to the system.
func onSignals(stop func(), log *slog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, act := range []func(){cancel, stop} {
			select {
			case got := <-signals:
				log.Info("signal", slog.String("name", got.String()))
				act()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel()
	}
}
