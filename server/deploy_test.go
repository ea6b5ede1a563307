package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descText = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

	// useText is a metric in a query, with the labels that select it.
	useText   = regexp.MustCompile(`\b((?:goxl|process|go)_[a-z_]+)(?:\{([^}]*)\})?`)
	labelText = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
)

// exported gives the labels of every metric of a server, by name.
func exported(t *testing.T, m *metrics) map[string][]string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		m.registry.Describe(descs)
	}()
	all := map[string][]string{}
	for d := range descs {
		match := descText.FindStringSubmatch(d.String())
		if match == nil {
			t.Fatalf("%s", d)
		}
		all[match[1]] = strings.Split(match[2], ",")
	}
	return all
}

// queries are what the files of folder deploy ask Prometheus for.
func queries(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("../deploy", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var dashboard struct {
		Panels     []struct{ Targets []struct{ Expr string } }
		Templating struct{ List []struct{ Definition string } }
	}
	if err := json.Unmarshal(read("grafana/goxl.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all["dashboard"] = append(all["dashboard"], target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		all["dashboard"] = append(all["dashboard"], v.Definition)
	}
	for _, name := range []string{"prometheus/alerts.yml", "prometheus/alerts_test.yml", "kubernetes/autoscaling/adapter.yaml", "kubernetes/autoscaling/hpa.yaml"} {
		for line := range strings.Lines(string(read(name))) {
			text, _, _ := strings.Cut(line, "# ")
			all[name] = append(all[name], text)
		}
	}
	return all
}

// Each metric and label that a dashboard, an alert or an autoscaler names is there, and each metric of the server's own is
// shown or watched.
func TestDeployNamesMetrics(t *testing.T) {
	known := exported(t, newBenchMetrics(t))
	used := map[string]bool{}
	for file, list := range queries(t) {
		found := 0
		for _, query := range list {
			for _, use := range useText.FindAllStringSubmatch(query, -1) {
				name, labels := use[1], use[2]
				for _, part := range []string{"_bucket", "_sum", "_count"} {
					if whole, cut := strings.CutSuffix(name, part); cut && known[whole] != nil {
						name = whole
					}
				}
				if known[name] == nil {
					t.Errorf("%s: there is no metric %s", file, name)
					continue
				}
				used[name] = true
				found++
				for _, label := range labelText.FindAllStringSubmatch(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(labels, ""), -1) {
					if !slices.Contains(known[name], label[1]) && !slices.Contains([]string{"instance", "job", "le", "namespace", "pod"}, label[1]) {
						t.Errorf("%s: %s has no label %s", file, name, label[1])
					}
				}
			}
		}
		if found == 0 {
			t.Errorf("%s names no metric", file)
		}
	}
	for name := range known {
		if strings.HasPrefix(name, "goxl_") && !used[name] {
			t.Errorf("%s is neither in the dashboard nor in an alert", name)
		}
	}
}

// newBenchMetrics are the metrics of a server, those of its state among them.
func newBenchMetrics(t *testing.T) *metrics {
	t.Helper()
	b := newBench(t, nil)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b.metrics
}
