package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// dockerfile parses a Dockerfile as BuildKit does. A warning of its linter is an error.
func dockerfile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	ast, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	var warnings []error
	for _, w := range ast.Warnings {
		warnings = append(warnings, errors.New(w.Short))
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, at []parser.Range) {
		warnings = append(warnings, fmt.Errorf("%v: %s: %s", at, rule, message))
	}})
	stages, _, err := instructions.Parse(ast.AST, lint)
	if err := errors.Join(append(warnings, err)...); err != nil {
		return "", err
	}
	var names []string
	for _, s := range stages {
		names = append(names, s.Name)
		if s.Name == "build" {
			continue
		}
		user := slices.IndexFunc(s.Commands, func(c instructions.Command) bool {
			u, ok := c.(*instructions.UserCommand)
			return ok && u.User == "65532:65532"
		})
		if user < 0 {
			return "", fmt.Errorf("stage %s: its user must be 65532:65532", s.Name)
		}
	}
	return fmt.Sprintf("stages %q", names), nil
}

// compose loads a Compose file with all profiles, strictly.
func compose(path string) (string, error) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithProfiles([]string{"*"}), cli.WithWorkingDirectory(filepath.Dir(path)), cli.WithConsistency(true), cli.WithInterpolation(true))
	if err != nil {
		return "", err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("services %q", project.ServiceNames()), nil
}
