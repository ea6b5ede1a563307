// Command deploy checks the files of folder deploy by what reads them: BuildKit's parser of Dockerfiles with its
// linter, kustomize and the types of the Kubernetes API without unknown fields, the Compose specification, Prometheus'
// parsers of rules and queries. It is a module of its own, so that none of these is one of goxl's dependencies.
//
//	go -C tools/deploy run . ../../deploy
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: deploy FOLDER")
		os.Exit(2)
	}
	failed := false
	for _, c := range []struct {
		path  string
		check func(path string) (what string, err error)
	}{
		{"Dockerfile", dockerfile},
		{"compose.yaml", compose},
		{"compose.workers.yaml", compose},
		{"kubernetes/base", manifests},
		{"kubernetes/gpu", manifests},
		{"kubernetes/autoscaling", manifests},
		{"kubernetes/workers", manifests},
		{"prometheus/alerts.yml", rules},
		{"grafana/goxl.json", dashboard},
	} {
		what, err := c.check(filepath.Join(os.Args[1], filepath.FromSlash(c.path)))
		if err != nil {
			failed = true
			fmt.Printf("%s: %v\n", c.path, err)
			continue
		}
		fmt.Printf("%s: %s\n", c.path, what)
	}
	if failed {
		os.Exit(1)
	}
}
