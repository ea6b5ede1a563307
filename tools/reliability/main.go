// Command reliability runs a goxl server through what it must withstand, and says with figures whether it did:
//
//	reliability load     -server FILE   mixed requests on many connections while devices are busy
//	reliability kill     -server FILE   kill -9 at random moments
//	reliability damage   -server FILE   a journal that was cut, or whose bits were flipped
//	reliability hostile  -server FILE   clients that stand still, send too much, or smuggle
//	reliability memory   -server FILE   memory over thousands of images
//	reliability overhead -server FILE -goxl FILE   what the server takes of a device's time
//
// Further flags may follow, and behind -- those of the server. Each starts the server itself, ends with a table, and
// has the exit status 1 if anything was violated. A seed makes the same requests and faults again, though not at the
// same moments.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// trial is one of the subcommands.
type trial interface {
	flags(fs *flag.FlagSet)
	run(ctx context.Context, s *setup, r *report) error
}

func trials() map[string]trial {
	return map[string]trial{
		"load": &load{}, "kill": &killing{}, "damage": &damage{}, "hostile": &hostile{}, "memory": &memory{}, "overhead": &overhead{},
	}
}

// setup is what all have in common.
type setup struct {
	server string   // the program
	args   []string // its further flags
	folder string   // of everything that is written
	seed   uint64
	size   int // of images, pixels of a side
	steps  int
	out    io.Writer // what is said meanwhile
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (err error) {
	all := trials()
	allowed := strings.Join(slices.Sorted(maps.Keys(all)), ", ")
	if len(args) == 0 {
		return fmt.Errorf("the first argument is missing: must be one of %s", allowed)
	}
	t, known := all[args[0]]
	if !known {
		return fmt.Errorf("the first argument is %q: must be one of %s", args[0], allowed)
	}
	s := &setup{out: out}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	fs.StringVar(&s.server, "server", "", "`file` of the goxl server")
	fs.StringVar(&s.folder, "folder", "", "`folder` for images, journal and log, made if missing, which must be empty; by default a temporary one that is removed")
	fs.Uint64Var(&s.seed, "seed", 1, "`seed` of what is random")
	fs.IntVar(&s.size, "size", 64, "`pixels` of a side of most images, a multiple of 16")
	fs.IntVar(&s.steps, "steps", 2, "`steps` of an image")
	limit := fs.Duration("limit", 30*time.Minute, "`time` for all")
	t.flags(fs)
	if err := fs.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	s.args = fs.Args()
	if err := s.check(); err != nil {
		return err
	}
	if s.folder == "" {
		if s.folder, err = os.MkdirTemp("", "goxl-reliability-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.folder)) }()
	}
	if err := prepare(s.folder); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, fmt.Errorf("-limit %v has passed", *limit))
	defer cancel()

	began := time.Now()
	r := newReport()
	r.figure("began", "%s, seed %d", began.UTC().Format(time.RFC3339), s.seed)
	r.figure("host", "%s", host())
	err = t.run(ctx, s, r)
	r.figure("took", "%v", time.Since(began).Round(time.Second))
	return errors.Join(err, r.end(out))
}

func (s *setup) check() error {
	switch {
	case s.server == "":
		return errors.New("-server is missing: must be the file of the goxl server")
	case s.size < 64 || s.size%16 != 0:
		return fmt.Errorf("-size is %d: must be a multiple of 16, at least 64", s.size)
	case s.steps < 2:
		return fmt.Errorf("-steps is %d: must be at least 2", s.steps)
	}
	return nil
}

// prepare makes a folder that must be empty.
func prepare(folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("-folder is %s: must be empty", folder)
	}
	return err
}

// images is the folder of the server's images and journal.
func (s *setup) images() string { return filepath.Join(s.folder, "images") }
