package main

import (
	"flag"
	"fmt"
	"io"

	"github.com/goxl/goxl/internal/cli"
)

// overview lists the commands.
func overview(w io.Writer) {
	fmt.Fprint(w, "goxl makes images with Stable Diffusion XL.\n\nUsage: goxl COMMAND [arguments]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s%s\n", c.name, c.summary)
	}
	fmt.Fprintf(w, "  %-10s%s\n", "help", "explain a command: goxl help COMMAND")
	fmt.Fprintf(w, "  %-10s%s\n", "version", "print the version of this program, and the devices of this machine")
	fmt.Fprint(w, "\nResults go to standard output, everything else to standard error. The exit status is 0,\n1 if the command failed, 2 if its arguments can't be understood.\n")
}

// help answers "goxl help [COMMAND]".
func help(s streams, args []string) int {
	switch len(args) {
	case 0:
		overview(s.out)
		return cli.StatusOK
	case 1:
		c, ok := find(args[0])
		switch {
		case !ok && (args[0] == "help" || args[0] == "version"): // which have no flags
			overview(s.out)
			return cli.StatusOK
		case !ok:
			return misused(s, "goxl", unknown(args[0]))
		}
		fs := flag.NewFlagSet("goxl "+c.name, flag.ContinueOnError)
		c.define(fs)
		c.help(s.out, fs)
		return cli.StatusOK
	}
	return misused(s, "goxl", cli.Usagef("unexpected argument %q", args[1]))
}

// help prints what the command does and lists its flags.
func (c command) help(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "goxl %s: %s\n\nUsage: goxl %s %s\n", c.name, c.summary, c.name, c.synopsis)
	if c.notes != "" {
		fmt.Fprintf(w, "\n%s\n", c.notes)
	}
	printFlags(w, fs)
}
