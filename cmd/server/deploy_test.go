package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// defined is a flag in the output of server -h.
var defined = regexp.MustCompile(`(?m)^  -([a-z][a-z-]*)`)

// Every flag that the files of folder deploy give to the server is one that it has, and it takes them together: it does
// not refuse to listen, nor a role's flags.
func TestDeployGivesFlags(t *testing.T) {
	var help bytes.Buffer
	if status := run([]string{"-h"}, &help); status != 0 {
		t.Fatalf("status %d:\n%s", status, &help)
	}
	for name, starts := range map[string]string{ // and how the lines begin that have flags of the server
		"deploy/Dockerfile":                         "CMD",
		"deploy/compose.yaml":                       "command:",
		"deploy/compose.workers.yaml":               `command: ["-role"`,
		"deploy/kubernetes/base/statefulset.yaml":   "args:",
		"deploy/kubernetes/workers/api.yaml":        "args:",
		"deploy/kubernetes/workers/deployment.yaml": "args:",
		"deploy/systemd/goxl.service":               "ExecStart=",
		"deploy/dstack/service.dstack.yml":          "- exec goxl-server",
		"api.dstack.yml":                            "- go run ./cmd/server",
	} {
		data, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		lines := strings.Split(string(data), "\n")
		for i, line := range lines {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, starts) {
				continue
			}
			for next := i + 1; strings.Contains(line, "[") && !strings.HasSuffix(line, "]") && next < len(lines); next++ {
				line += " " + strings.TrimSpace(lines[next])
			}
			args := arguments(line)
			if found += len(args); len(args) == 0 {
				continue
			}
			if err := checkArguments(help.String(), args); err != nil {
				t.Errorf("%s: %q: %v", name, args, err)
			}
		}
		if found == 0 {
			t.Errorf("%s: no line that begins with %q has a flag", name, starts)
		}
	}
}

// arguments are the words of a command line, or of a list in JSON or YAML, from the first flag on.
func arguments(line string) []string {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(` "'[],`, r) })
	first := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") && word != "-" })
	if first < 0 {
		return nil
	}
	return words[first:]
}

// checkArguments checks arguments as the server does before it opens anything. Flags of whose values nothing is asked
// here are known by the help alone.
func checkArguments(help string, args []string) error {
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var o options
	o.models.register(fs)
	o.access.register(fs)
	o.roles.register(fs)
	address := fs.String("addr", "127.0.0.1:8000", "")
	metricsFlag(fs)
	fs.Bool("watermark", true, "")
	for _, match := range defined.FindAllStringSubmatch(help, -1) {
		if fs.Lookup(match[1]) == nil {
			fs.String(match[1], "", "")
		}
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := o.roles.check(fs); err != nil {
		return err
	}
	return o.access.check(*address)
}

// The check of the files is not blind.
func TestDeployChecksFlags(t *testing.T) {
	var help bytes.Buffer
	run([]string{"-h"}, &help)
	for _, c := range []struct{ line, want string }{
		{`CMD ["-addr", ":8000", "-images", "/data/images"]`, "-addr :8000: other machines can reach it"},
		{`CMD ["-addr", ":8000", "-insecure"]`, ""},
		{`args: ["-addr", ":8000", "-tokens", "/etc/goxl/tokens"]`, ""},
		{`ExecStart=/usr/local/bin/goxl-server -addr 127.0.0.1:8000 $ARGS`, ""},
		{`args: ["-picture", "x"]`, "flag provided but not defined: -picture"},
		{`args: ["-role", "worker", "-nats", "nats://nats:4222", "-metrics", ":9090"]`, "-metrics: is of the servers"},
		{`args: ["-role", "api", "-device", "cpu"]`, "-role api: needs -nats"},
	} {
		err := checkArguments(help.String(), arguments(c.line))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.line, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", c.line, err, c.want)
		}
	}
}
