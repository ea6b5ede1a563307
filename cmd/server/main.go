// Command server answers HTTP requests with pictures of Stable Diffusion XL.
//
//	server -model DIR [-refiner DIR] [-addr 127.0.0.1:8000] [-images images] [-queue 64]
//
// See package server for what it answers, and -h for every flag.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// options are the flags.
type options struct {
	model, refiner, variant string
	address, images         string
	queue                   int
	drain                   time.Duration
	watermark               bool
	device                  cli.DeviceFlags
}

// run is the command; it returns the exit status. All that it has to say is for people, so it goes to stderr.
func run(args []string, stderr io.Writer) int {
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var o options
	fs.StringVar(&o.model, "model", cli.Demo, "the model: demo, which is built in, a `DIR` in diffusers' layout, or synth:base or synth:tiny for made-up weights")
	fs.StringVar(&o.refiner, "refiner", "", "the refiner: a `DIR`, synth:refiner or synth:tiny-refiner, loaded when it is first needed; without it /refine answers 501")
	fs.StringVar(&o.variant, "variant", "", "`name` of the weight files, for instance fp16; without it, what suits the precision")
	fs.StringVar(&o.address, "addr", "127.0.0.1:8000", "`host:port` to listen at; port 0 takes a free one, which the log tells")
	fs.StringVar(&o.images, "images", "images", "`folder` of the pictures, made if missing; pictures stay there until somebody removes them")
	fs.IntVar(&o.queue, "queue", 64, "`requests` that may wait while one is computed; the next is answered 503")
	fs.DurationVar(&o.drain, "drain", time.Minute, "`time` for queued work after SIGTERM or an interrupt; a second signal ends it at once")
	fs.BoolVar(&o.watermark, "watermark", true, "put diffusers' invisible watermark into pictures; -watermark=false leaves it out")
	o.device.Register(fs)

	err := cli.Parse(fs, args)
	if err == nil {
		err = serve(o, slog.New(slog.NewTextHandler(stderr, nil)))
	}
	return cli.Exit(fs, err)
}

// serve runs the server until a signal or an error ends it.
func serve(o options, log *slog.Logger) (err error) {
	switch {
	case o.model == "":
		return cli.Usagef("-model is empty: must be demo, a DIR, synth:base or synth:tiny")
	case o.queue < 0:
		return cli.Usagef("-queue %d: must be 0 or more", o.queue)
	case o.drain <= 0:
		return cli.Usagef("-drain %v: must be more than 0", o.drain)
	}
	device, precision, err := o.device.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()

	c := server.Config{
		Load: func() (server.Engine, error) {
			return asEngine(cli.OpenModel(o.model, sdxl.Options{Device: device, Precision: precision, Variant: o.variant, Log: log}))
		},
		Schedulers: scheduler.Names(),
		Images:     o.images, Queue: o.queue, Drain: o.drain, Watermark: o.watermark,
		Version: cli.Version(), Log: log,
	}
	if o.refiner != "" {
		c.LoadRefiner = func(base server.Engine) (server.Engine, error) {
			return asEngine(base.(*sdxl.Pipeline).OpenRefiner(o.refiner)) // base is what Load gave
		}
	}
	s, err := server.New(c)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.address)
	if err != nil {
		return err
	}
	info := device.Info()
	log.Info("listening", slog.String("address", "http://"+l.Addr().String()), slog.String("model", o.model), slog.String("device", info.Name),
		slog.String("kernels", info.Variant), slog.String("version", c.Version))

	ctx, stopWatching := onSignals(s, log)
	defer stopWatching()
	return s.Run(ctx, l)
}

// asEngine keeps a nil pipeline from becoming an engine that is not nil.
func asEngine(p *sdxl.Pipeline, err error) (server.Engine, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}

// onSignals gives a context that the first signal ends, by which the server drains; the second stops it. The function that it returns
// gives the signals back to the system.
func onSignals(s *server.Server, log *slog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, act := range []func(){cancel, s.Stop} {
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
