package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/remote"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// idleCheck is the time between two looks at devices that compute nothing.
const idleCheck = 5 * time.Second

// work computes the jobs of other processes until a signal ends it.
func (o options) work(log *slog.Logger, models []server.Model, inversions []sdxl.TextualInversion, d devices) (err error) {
	conn, err := o.connect(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	shared := o.shared(inversions)
	specs := map[string]engine.Specs{}
	var names []string
	for _, m := range models {
		specs[m.Name] = m.Specs
		names = append(names, m.Name)
		if r := m.Specs.Refiner; r != nil {
			names = append(names, filepath.Base(r.Path))
		}
	}
	slices.Sort(names)
	w := remote.NewWorker(conn, remote.WorkerOptions{
		Version: cli.Version(), Models: slices.Compact(names), Fingerprints: o.fingerprints(log), Log: log,
		Refuse: func(j job.Job) *job.Error { return worker.Check(j, specs, shared) },
	})
	pool := worker.NewPool(worker.Config{
		Source: w, Devices: d.names(), Load: d.load, Shared: shared, Timeout: o.timeout, Version: cli.Version(), Log: log,
		Resolve: func(t *worker.Task) (warning string, err error) {
			t.Job.Parameters, err = specs[t.Job.Name].Resolve(t.Job)
			return "", err
		},
		Loaded: func(_ int, name string, _ engine.Costs, took time.Duration) {
			log.Info("model loaded", slog.String("device", name), slog.Duration("took", took))
		},
	})
	defer func() {
		w.Stop()
		err = errors.Join(err, pool.Close(), w.Close())
	}()
	ctx, stopWatching := onSignals(w.Stop, log)
	defer stopWatching()
	if err := w.Start(func() []worker.DeviceModels { return opened(pool, o.first().called()) }); err != nil {
		return err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- pool.Load() }() // ends before pool.Close returns, or with the process
	select {
	case err := <-loaded:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return nil
	}
	log.Info("working", slog.String("nats", remote.WithoutSecrets(o.nats)), slog.String("model", o.first().called()), slog.String("devices", strings.Join(d.names(), ",")), slog.String("version", cli.Version()))
	check := time.NewTicker(idleCheck)
	defer check.Stop()
	for {
		select {
		case <-check.C: // a device that fails while it has no job is opened again
			pool.Check()
			continue
		case <-ctx.Done():
		}
		break
	}
	log.Info("draining", slog.Duration("limit", o.drain))
	w.Leave()
	limit, cancel := context.WithTimeoutCause(context.Background(), o.drain, fmt.Errorf("the jobs of this worker did not end in %v: they go back to their servers", o.drain))
	defer cancel()
	return pool.Wait(limit)
}

// opened is what the devices have of the models. One that is not ready opens the first.
func opened(p *worker.Pool, first string) []worker.DeviceModels {
	list := p.Models()
	for i := range list {
		if list[i].Models == nil {
			state := engine.Loading
			if list[i].State == worker.Ready {
				state = engine.Ready
			}
			list[i].Models = []engine.ModelStatus{{Name: first, State: state}}
		}
	}
	return list
}
