package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/hub"
)

// isHubName reports whether a model's name is one of the hub's: nothing that is built in, and no path that exists.
func isHubName(name string) (n hub.Name, ok bool) {
	if name == Demo || strings.HasPrefix(name, sdxl.SyntheticPrefix) {
		return n, false
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return n, false
	}
	n, err := hub.ParseName(name)
	return n, err == nil
}

// Fetch downloads those of the models that are names of the hub and not in its cache yet, unless HF_HUB_OFFLINE is set.
// How far it is goes to log. v chooses among several variants of the weights.
func Fetch(ctx context.Context, v weights.Variant, log *slog.Logger, models ...string) error {
	for _, name := range models {
		n, ok := isHubName(name)
		if !ok {
			continue
		}
		client := hub.Client{Settings: hub.FromEnvironment(), Log: log}
		var last time.Time
		client.Progress = func(p hub.Progress) {
			if now := time.Now(); p.Finished || now.Sub(last) >= 5*time.Second {
				last = now
				log.Info("downloading", "model", name, "file", p.File, "done", downloaded(p))
			}
		}
		if _, err := client.Ensure(ctx, n, v); err != nil {
			return fmt.Errorf("no such file or folder, and of the hub: %w", err)
		}
	}
	return nil
}

// downloaded says how far a download is, and what is left of it.
func downloaded(p hub.Progress) string {
	s := kernels.FormatBytes(p.Bytes)
	if p.Total > 0 {
		s += " of " + kernels.FormatBytes(p.Total)
	}
	if p.Rate > 0 {
		s += fmt.Sprintf(", %s/s", kernels.FormatBytes(int64(p.Rate)))
	}
	if p.Left > 0 {
		s += fmt.Sprintf(", %v left", p.Left.Round(time.Second))
	}
	return s
}

// Downloading is a hub.Client's Progress for people: on a terminal a line that is written anew, elsewhere a line a
// second.
func Downloading(w io.Writer, terminal bool) func(hub.Progress) {
	var last time.Time
	return func(p hub.Progress) {
		line := fmt.Sprintf("%d of %d files, %s", p.Done, p.Files, downloaded(p))
		switch now := time.Now(); {
		case terminal && p.Finished:
			fmt.Fprintf(w, "\r\x1b[K%s\n", line)
		case terminal:
			fmt.Fprintf(w, "\r\x1b[K%s  %s", line, p.File)
		case p.Finished || now.Sub(last) >= time.Second:
			last = now
			fmt.Fprintln(w, line+"  "+p.File)
		}
	}
}

// Variant is which weights to download for the device that the flags name, without opening it: the plain files for
// fp32, which a CPU prefers, else those of fp16. name is that of -variant.
func (f *DeviceFlags) Variant(name string) weights.Variant {
	if p, err := kernels.ParsePrecision(f.Precision); err == nil {
		return weights.Variant{Name: name, Precision: p}
	}
	if cards, err := f.Cards(func(string) {}); err == nil && len(cards) > 0 {
		return weights.Variant{Name: name, Precision: kernels.F16}
	}
	return weights.Variant{Name: name, Precision: kernels.F32}
}
