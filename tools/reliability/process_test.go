package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// script is a setup whose server is a shell script.
func script(t *testing.T, text string) *setup {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "server.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return &setup{server: file, folder: folder}
}

// A server that ends is not waited for, and the error has what it said; one that listens is found by its log.
func TestStart(t *testing.T) {
	s := script(t, "echo no model >&2; exit 3\n")
	if _, err := s.start(t.Context()); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "no model") {
		t.Errorf("%v", err)
	}
	s = script(t, "echo level=INFO msg=listening address=http://127.0.0.1:9 model=x; exec sleep 60\n")
	p, err := s.spawn()
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	if err := p.listens(t.Context()); err != nil || p.base != "http://127.0.0.1:9" {
		t.Errorf("%q, %v", p.base, err)
	}
	if pids, err := family(os.Getpid()); err != nil || !slices.Contains(pids, p.cmd.Process.Pid) || slices.Contains(pids, os.Getppid()) {
		t.Errorf("%v, %v: want %d", pids, err, p.cmd.Process.Pid)
	}
	if l, err := p.levels(); err != nil || l.resident <= 0 || l.anonymous > l.resident || l.files < 3 {
		t.Errorf("%+v, %v", l, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.ready(ctx); err == nil { // nobody answers
		t.Error("it is ready")
	}
}
