package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/auth"
)

// tokenCommand is the first argument that makes a token.
const tokenCommand = "token"

// runToken is the command "server token NAME": it makes a token, and returns the exit status.
func runToken(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("server token", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintln(stderr, "Usage: server token NAME [flags]\nIt makes a token, and the line of NAME in the file of -tokens.")
		fs.PrintDefaults()
	}
	u := auth.User{Role: auth.Use}
	fs.Func("role", "what the user may do, a `role`: use, the default, or admin, which sees and cancels all jobs", func(s string) (err error) {
		u.Role, err = auth.ParseRole(s)
		return err
	})
	prioritised := false
	for _, limit := range []struct{ name, usage string }{
		{"images-per-day", "most `images` of a day, which begins at midnight UTC; without it there is no limit"},
		{"jobs", "most `jobs` that wait or are computed at once; without it there is no limit"},
		{"priority", "highest `priority` of the user's jobs, -100 to 100; without it 0, and 100 for an admin"},
	} {
		fs.Func(limit.name, limit.usage, func(s string) error {
			prioritised = prioritised || limit.name == "priority"
			return u.SetLimit(limit.name, s)
		})
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		u.Name, args = args[0], args[1:]
	}
	err := cli.Parse(fs, args)
	if err == nil {
		err = auth.CheckName(u.Name)
		if err != nil {
			err = cli.Usagef("NAME comes first: %v", err)
		}
	}
	if err != nil {
		return cli.Exit(fs, err)
	}
	if u.Role == auth.Admin && !prioritised {
		u.Priority = job.MaxPriority
	}
	token := auth.NewToken()
	if _, err = fmt.Fprintf(stdout, "%s\n%s\n", token, u.Line(token)); err == nil {
		fmt.Fprintln(stderr, "The first line is the token, for its user; nothing else keeps it. The second is for the file of -tokens.")
	}
	return cli.Exit(fs, err)
}
