package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Exit statuses of the commands.
const (
	StatusOK     = 0
	StatusFailed = 1
	StatusUsage  = 2
)

// UsageError is a command line that can't be understood.
type UsageError struct{ Message string }

func (e *UsageError) Error() string { return e.Message }

// Usagef makes a [UsageError].
func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Parse reads flags alone: a stray argument, and a required flag that is missing, are usage errors that name it. It
// writes nothing; the error, [flag.ErrHelp] for -h, goes to [Exit].
func Parse(fs *flag.FlagSet, args []string, required ...string) error {
	fs.Init(fs.Name(), flag.ContinueOnError)
	output := fs.Output()
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	fs.SetOutput(output)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return &UsageError{err.Error()}
	case fs.NArg() > 0:
		return Usagef("unexpected argument %q", fs.Arg(0))
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var missing []string
	for _, name := range required {
		if !given[name] {
			missing = append(missing, "-"+name)
		}
	}
	if len(missing) > 0 {
		return Usagef("missing %s", strings.Join(missing, ", "))
	}
	return nil
}

// Exit reports err to the user, on the flag set's output, and returns the exit status. The flags are listed where they
// may help: after a usage error, and for -h, which is no failure.
func Exit(fs *flag.FlagSet, err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return StatusOK
	case errors.Is(err, flag.ErrHelp):
		fs.Usage()
		return StatusOK
	case errors.As(err, &usage):
		fmt.Fprintf(fs.Output(), "%s: %v\n", fs.Name(), err)
		fs.Usage()
		return StatusUsage
	}
	fmt.Fprintf(fs.Output(), "%s: %v\n", fs.Name(), err)
	return StatusFailed
}
