package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// defined is a flag in the output of server -h, given one in a command line or a list of arguments.
	defined = regexp.MustCompile(`(?m)^  -([a-z][a-z-]*)`)
	given   = regexp.MustCompile(`(?:^|[\s"'=\[,])-([a-z][a-z-]*)`)
)

// Every flag that the files of folder deploy give to the server is one that it has.
func TestDeployGivesFlags(t *testing.T) {
	var help bytes.Buffer
	if status := run([]string{"-h"}, &help); status != 0 {
		t.Fatalf("status %d:\n%s", status, &help)
	}
	known := map[string]bool{}
	for _, match := range defined.FindAllStringSubmatch(help.String(), -1) {
		known[match[1]] = true
	}
	for name, starts := range map[string]string{ // and how the lines begin that have flags of the server
		"deploy/Dockerfile":                       "CMD",
		"deploy/compose.yaml":                     "command:",
		"deploy/kubernetes/base/statefulset.yaml": "args:",
		"deploy/systemd/goxl.service":             "ExecStart=",
		"deploy/dstack/service.dstack.yml":        "- exec goxl-server",
		"api.dstack.yml":                          "- go run ./cmd/server",
	} {
		data, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for line := range strings.Lines(string(data)) {
			rest, begins := strings.CutPrefix(strings.TrimSpace(line), starts)
			if !begins {
				continue
			}
			for _, match := range given.FindAllStringSubmatch(rest, -1) {
				if found++; !known[match[1]] {
					t.Errorf("%s: the server has no flag -%s", name, match[1])
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: no line that begins with %q has a flag", name, starts)
		}
	}
}
