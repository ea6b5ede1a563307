package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// rules parses a file of rules as Prometheus does.
func rules(path string) (string, error) {
	groups, errs := rulefmt.ParseFile(path, false)
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	n := 0
	for _, g := range groups.Groups {
		n += len(g.Rules)
	}
	return fmt.Sprintf("%d rules", n), nil
}

// dashboard parses the queries of a Grafana dashboard, with values in the place of its variables.
func dashboard(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return "", err
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	n := 0
	for _, p := range d.Panels {
		for _, t := range p.Targets {
			query := variables.Replace(t.Expr)
			if strings.Contains(query, "$") {
				return "", fmt.Errorf("panel %s: %s: has an unknown variable", p.Title, t.Expr)
			}
			if _, err := parser.ParseExpr(query); err != nil {
				return "", fmt.Errorf("panel %s: %s: %w", p.Title, t.Expr, err)
			}
			n++
		}
	}
	if n == 0 {
		return "", errors.New("no panel has a query")
	}
	return fmt.Sprintf("%d queries", n), nil
}
