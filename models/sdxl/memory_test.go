package sdxl

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda"
)

var (
	fullModels = flag.String("full", "", "a folder for full-size synthetic models, 13 GB, made when they are not there; without it their test is skipped")
	fullCap    = flag.Int64("full.memory", 11<<30, "bytes of the card's memory that base and refiner together may take")
)

// hostMemory reads /proc/self/status: what the process alone holds, without the 96 MiB that the engine pins, and what of mapped files, those of tmpfs included, is
// in its tables, in bytes.
func hostMemory() (own, mapped int64) {
	data, _ := os.ReadFile("/proc/self/status") // zeros elsewhere than on Linux
	for line := range strings.Lines(string(data)) {
		var name string
		var kib int64
		fmt.Sscan(line, &name, &kib)
		switch name {
		case "RssAnon:":
			own += kib << 10
		case "RssFile:", "RssShmem:":
			mapped += kib << 10
		}
	}
	return own, mapped
}

// watchHost keeps the most of what hostMemory says until stop is called.
func watchHost() (stop func() (own, mapped int64)) {
	var most [2]atomic.Int64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			own, mapped := hostMemory()
			most[0].Store(max(most[0].Load(), own))
			most[1].Store(max(most[1].Load(), mapped))
			select {
			case <-tick.C:
			case <-end:
				tick.Stop()
				return
			}
		}
	}()
	return func() (int64, int64) {
		close(end)
		<-ended
		return most[0].Load(), most[1].Load()
	}
}

func gb(n int64) float64 { return float64(n) / 1e9 }

// fullRun reports what happens when.
type fullRun struct {
	*testing.T
	device *cuda.Device
	start  time.Time
}

func (f *fullRun) lap(what string, args ...any) {
	f.Logf("%8.3f s  %s", time.Since(f.start).Seconds(), fmt.Sprintf(what, args...))
}

// report looks at the card's memory, of which at most so many bytes may have been used.
func (f *fullRun) report(most int64, what string, args ...any) {
	f.Helper()
	m, err := f.device.Memory()
	if err != nil {
		f.Fatal(err)
	}
	f.lap("%s: pool %.2f GB, peak %.2f GB, arena %.2f GB, limit %.2f GB", fmt.Sprintf(what, args...), gb(m.Used), gb(m.Peak), gb(m.Arena), gb(m.Limit))
	if m.Peak > most {
		f.Errorf("%d bytes of the card were used, at most %d may be", m.Peak, most)
	}
}

// base opens the device and the base and draws an image.
func (f *fullRun) base(ctx context.Context, memory int64) (*Model, Request) {
	f.start = time.Now()
	f.device = card(f.T, cuda.Options{Memory: memory})
	f.lap("device open")
	base, err := Open(ctx, filepath.Join(*fullModels, "base"), Options{Host: hostOf(f.device, slog.New(slog.NewTextHandler(f.Output(), nil))), Log: slog.New(slog.NewTextHandler(f.Output(), nil))})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := base.Close(); err != nil {
			f.Error(err)
		}
	})
	f.lap("base open")
	r := Request{Prompt: "a lighthouse at dusk"}
	r.Steps, r.Height, r.Width = 4, 1024, 1024
	run, err := base.Start(ctx, r)
	if err != nil {
		f.Fatal(err)
	}
	defer run.Close()
	f.lap("prompt encoded, step compiled")
	if err := run.Step(ctx); err != nil {
		f.Fatal(err)
	}
	f.lap("first step done: the time from nothing to it, with the model in the page cache")
	for run.Next() {
		if err := run.Step(ctx); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := run.Finish(ctx); err != nil {
		f.Fatal(err)
	}
	return base, r
}

// TestFullMemory draws 1024×1024 images from files: with base alone, then with base and refiner within a limit, and reports memory and times. Its bounds are the
// project's: 8.5 GB for base alone, the limit for both, 6 GB on the host beyond mapped files.
func TestFullMemory(t *testing.T) {
	if *fullModels == "" {
		t.Skip("-full names no folder")
	}
	ctx := context.Background()
	start := time.Now()
	var making sync.WaitGroup
	for _, name := range []string{"base", "refiner"} {
		if dir := filepath.Join(*fullModels, name); !exists(dir) {
			making.Go(func() {
				if err := Synthesise(ctx, name, kernels.F16, dir); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if making.Wait(); t.Failed() {
		t.FailNow()
	}
	t.Logf("models written in %v", time.Since(start).Round(time.Millisecond))
	stop := watchHost()
	t.Run("base", func(t *testing.T) {
		f := &fullRun{T: t}
		f.base(ctx, 0)
		f.report(8_500_000_000, "image of base")
	})
	t.Run("base and refiner", func(t *testing.T) {
		f := &fullRun{T: t}
		base, r := f.base(ctx, *fullCap)
		f.report(*fullCap, "image of base")
		n := base.UNet.Bytes()
		if err := base.UNet.SetResident(ctx, false); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := base.UNet.SetResident(ctx, true); err != nil {
			t.Fatal(err)
		}
		spent := time.Since(began)
		f.lap("the unet comes back: %.2f GB in %v, %.1f GB/s", gb(n), spent.Round(time.Millisecond), gb(n)/spent.Seconds())
		refiner, err := refinerOf(t, base, filepath.Join(*fullModels, "refiner"))
		if err != nil {
			t.Fatal(err)
		}
		defer refiner.Close()
		f.lap("refiner open")
		for i := range 2 {
			began := time.Now()
			r := r
			r.Progress = func(p Progress) { f.lap("image %d, step %d", i+1, p.Step) }
			if _, err := Ensemble(ctx, r, Expert{base, 0.5}, Expert{Model: refiner}); err != nil {
				t.Fatal(err)
			}
			f.report(*fullCap, "image %d of base and refiner in %v", i+1, time.Since(began).Round(time.Millisecond))
		}
	})
	own, mapped := stop()
	t.Logf("host: %.2f GB at most beyond mapped files, %.2f GB of mapped files at most", gb(own), gb(mapped))
	if own > 6e9 {
		t.Errorf("%d bytes of host memory beyond mapped files, want at most 6 GB", own)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
