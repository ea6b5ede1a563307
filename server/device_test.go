package server

import (
	"strings"
	"testing"
)

// The name that an engine gives its device takes the place of the one in Config.
func TestDeviceName(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Devices = []string{"cuda:0"} })
	b.base.on = "cpu"
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	if w := b.do("GET", "/readyz", ""); w.Body.String() != `{"status":"ready","devices":{"cpu":"ready"}}` {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if log := b.log.String(); !strings.Contains(log, `msg="model loaded" device=cpu`) {
		t.Errorf("log:\n%s", log)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
