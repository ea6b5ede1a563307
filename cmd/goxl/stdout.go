package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/goxl/goxl/internal/cli"
)

// file is what a stream has that is one: *os.File, or stdout.
type file interface {
	io.Writer
	Stat() (os.FileInfo, error)
	Fd() uintptr
}

// stdout is standard output, and the first error of a write to it, which commands leave to runTo.
type stdout struct {
	file *os.File
	err  error
}

func (o *stdout) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

func (o *stdout) Stat() (os.FileInfo, error) { return o.file.Stat() }
func (o *stdout) Fd() uintptr                { return o.file.Fd() }

// runTo is run, which fails where results could not be written to out.
func runTo(ctx context.Context, args []string, out *os.File, err io.Writer) int {
	o := &stdout{file: out}
	status := run(ctx, args, o, err)
	if status == cli.StatusOK && o.err != nil {
		fmt.Fprintln(err, "goxl:", o.err)
		return cli.StatusFailed
	}
	return status
}
