// Command goxl makes images with Stable Diffusion XL.
//
//	goxl generate -model DIR|FILE|NAME -prompt "a lighthouse at dusk"
//	goxl generate -model DIR -image in.png -strength 0.6 -prompt "a lighthouse at dusk"
//	goxl refine   -model REFINER -image in.png -prompt "a lighthouse at dusk"
//	goxl upscale  -model FILE -image in.png -o out.png
//	goxl pull     ORG/NAME
//	goxl synth    -size tiny|full -kind base|refiner|esrgan|esrgan-compact -o DIR|FILE
//	goxl inspect  DIR|FILE|demo|synth:NAME
//	goxl check    DIR|demo|synth:NAME
//	goxl bench    kernels|step|image|swap
//
// Results go to standard output, everything else to standard error. The exit status is 0, 1 if the command failed, or 2
// if its arguments can't be understood.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/goxl/goxl/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(runTo(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// streams are where a command writes: results to out, everything else to err.
type streams struct{ out, err io.Writer }

// action does a command's work once its flags are parsed. The operand is "" for commands without one.
type action func(ctx context.Context, s streams, operand string) error

// command is one of goxl's.
type command struct {
	name     string
	synopsis string // its arguments
	summary  string // a line
	notes    string // for its help, after the summary
	operand  string // the name of its positional argument in errors; "" if it takes none
	required []string
	define   func(fs *flag.FlagSet) action // registers the flags
}

func commands() []command {
	return []command{generateCommand, refineCommand, upscaleCommand, pullCommand, synthCommand, inspectCommand, checkCommand, benchCommand}
}

// run is the program; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := streams{stdout, stderr}
	if len(args) == 0 {
		overview(stderr)
		return cli.StatusUsage
	}
	name, args := args[0], args[1:]
	switch name {
	case "version", "-version", "--version":
		if len(args) > 0 {
			return misused(s, "goxl version", cli.Usagef("unexpected argument %q", args[0]))
		}
		return version(s)
	case "help", "-h", "-help", "--help":
		return help(s, args)
	}
	c, ok := find(name)
	if !ok {
		return misused(s, "goxl", unknown(name))
	}
	return c.run(ctx, args, s)
}

// version prints the version, and the devices of this machine.
func version(s streams) int {
	fmt.Fprintln(s.out, "goxl", cli.Version())
	devices, err := cli.Devices()
	if err != nil {
		fmt.Fprintln(s.err, "goxl version:", err)
		return cli.StatusFailed
	}
	for _, line := range devices {
		fmt.Fprintln(s.out, line)
	}
	return cli.StatusOK
}

func find(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func unknown(name string) error {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return cli.Usagef("unknown command %q: must be one of %s, help, version", name, strings.Join(names, ", "))
}

func (c command) run(ctx context.Context, args []string, s streams) int {
	fs := flag.NewFlagSet("goxl "+c.name, flag.ContinueOnError)
	do := c.define(fs)
	operand, err := c.parse(fs, args)
	if err == nil {
		err = do(ctx, s, operand)
	}
	var usage *cli.UsageError
	switch {
	case err == nil:
		return cli.StatusOK
	case errors.Is(err, flag.ErrHelp):
		c.help(s.out, fs)
		return cli.StatusOK
	case errors.As(err, &usage):
		return misused(s, fs.Name(), allowed(fs, err))
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted; nothing was written")
	}
	fmt.Fprintf(s.err, "%s: %v\n", fs.Name(), err)
	return cli.StatusFailed
}

// parse reads flags and the operand, which may stand before or after them.
func (c command) parse(fs *flag.FlagSet, args []string) (operand string, err error) {
	if c.operand == "" {
		return "", cli.Parse(fs, args, c.required...)
	}
	rest := args
	fs.SetOutput(io.Discard) // cli.Parse finds what is wrong with the flags again, and reports it
	if fs.Parse(args) == nil && fs.NArg() > 0 {
		operand = fs.Arg(0)
		flags := args[:len(args)-fs.NArg()]
		rest = append(flags[:len(flags):len(flags)], fs.Args()[1:]...)
	}
	if err := cli.Parse(fs, rest, c.required...); err != nil {
		return "", err
	}
	if operand == "" {
		return "", cli.Usagef("missing %s", c.operand)
	}
	return operand, nil
}

var parseError = regexp.MustCompile(`^(invalid (?:boolean )?value ".*" for (?:flag )?-(\S+)): (?:parse error|value out of range)$`)

// allowed adds the allowed values to package flag's bare parse errors.
func allowed(fs *flag.FlagSet, err error) error {
	parts := parseError.FindStringSubmatch(err.Error())
	if parts == nil {
		return err
	}
	g, ok := fs.Lookup(parts[2]).Value.(flag.Getter)
	if !ok {
		return err
	}
	switch g.Get().(type) {
	case int:
		return cli.Usagef("%s: must be a whole number", parts[1])
	case float64:
		return cli.Usagef("%s: must be a number", parts[1])
	case bool:
		return cli.Usagef("%s: must be true or false", parts[1])
	}
	return err
}

// misused reports a command line that can't be understood.
func misused(s streams, name string, err error) int {
	fmt.Fprintf(s.err, "%s: %v\nRun '%s -h' for help.\n", name, err, strings.TrimSuffix(name, " version"))
	return cli.StatusUsage
}
