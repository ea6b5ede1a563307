// Command nats proves that jobs over NATS are each done once and none is lost, with processes that are killed and
// paused, and that many workers compute as much more as there are.
//
//	nats prove -server FILE [-jobs 2000]    one API, three workers, and everything that may happen to them
//	nats scale -server FILE [-workers 32]   as many workers against one
//
// The API is the goxl server itself; the workers are this program, whose engine only sleeps; so is the NATS server.
// tools/reliability/nats.sh builds and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/goxl/goxl/job/remote"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("the first argument is missing: must be prove or scale")
	}
	fs := flag.NewFlagSet(args[0], flag.ExitOnError)
	var p plan
	fs.StringVar(&p.server, "server", "", "`file` of the goxl server")
	fs.StringVar(&p.folder, "folder", "", "`folder` for everything, made if missing; it must be on a disk")
	fs.IntVar(&p.jobs, "jobs", 2000, "`jobs` of prove")
	fs.IntVar(&p.workers, "workers", 32, "`workers` of scale")
	fs.DurationVar(&p.sleep, "sleep", 250*time.Millisecond, "`time` that an image takes")
	fs.StringVar(&p.url, "nats", "", "`url` of NATS, of a worker")
	fs.StringVar(&p.listen, "listen", "", "`host:port` of the NATS server")
	fs.StringVar(&p.name, "name", "", "`name` of a worker")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "prove":
		return p.prove(ctx)
	case "scale":
		return p.scale(ctx)
	case "broker":
		return p.broker(ctx)
	case "worker":
		return p.work(ctx)
	}
	return fmt.Errorf("unknown argument %q: must be prove or scale", args[0])
}

// broker is a NATS server.
func (p *plan) broker(ctx context.Context) error {
	s, err := remote.StartEmbedded(remote.EmbeddedOptions{Folder: p.folder, Listen: p.listen})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// work is a worker whose engine sleeps. It writes a line for each computation to a file of its own.
func (p *plan) work(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	computed, err := os.OpenFile(p.folder+"/computed-"+p.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer computed.Close()
	conn, err := remote.Connect(remote.Options{URL: p.url, Name: p.name, Log: log})
	if err != nil {
		return err
	}
	w := remote.NewWorker(conn, remote.WorkerOptions{Name: p.name, Models: []string{model}, Log: log})
	pool := worker.NewPool(worker.Config{
		Source: w, Devices: []string{"sleep"}, Log: log,
		Load:    func(int) (engine.Engine, error) { return sleeper{p.sleep, computed}, nil },
		Resolve: func(*worker.Task) (string, error) { return "", nil },
	})
	if err := pool.Load(); err != nil {
		return err
	}
	if err := w.Start(pool.Models); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return errors.Join(pool.Close(), w.Close(), conn.Close())
}

// sleeper is an engine that sleeps.
type sleeper struct {
	takes    time.Duration
	computed *os.File
}

func (s sleeper) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	const steps = 4
	for i := range steps {
		select {
		case <-time.After(s.takes / steps):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		j.Request.Progress(sdxl.Progress{Step: i + 1, Steps: steps})
	}
	if _, err := fmt.Fprintln(s.computed, j.Request.Prompt); err != nil {
		return nil, err
	}
	p := j.Parameters
	return &sdxl.Result{Images: []*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))}, Parameters: p}, nil
}

func (sleeper) Costs() engine.Costs { return engine.Costs{} }
func (sleeper) DeviceName() string  { return "sleep" }
func (sleeper) Lost() error         { return nil }
func (sleeper) Close() error        { return nil }
