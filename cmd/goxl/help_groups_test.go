package main

import (
	"flag"
	"strings"
	"testing"
)

// TestFlagGroups: the help of generate and refine has every flag once, and the groups have no flag that neither takes.
func TestFlagGroups(t *testing.T) {
	known := map[string]bool{}
	for _, c := range []command{generateCommand, refineCommand} {
		fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.define(fs)
		out := must(t, "help", c.name).out
		fs.VisitAll(func(f *flag.Flag) {
			known[f.Name] = true
			if n := strings.Count(out, "\n  -"+f.Name+" ") + strings.Count(out, "\n  -"+f.Name+"\n"); n != 1 {
				t.Errorf("help %s has -%s %d times", c.name, f.Name, n)
			}
		})
	}
	for _, g := range flagGroups {
		for _, name := range g.flags {
			if !known[name] {
				t.Errorf("%s: -%s is a flag of neither command", g.title, name)
			}
		}
	}
}
