package server

import (
	"strings"
	"testing"
)

// placed is an engine that computes elsewhere than was meant.
type placed struct{ Engine }

func (placed) DeviceName() string { return "cpu" }

// Where an engine tells its device, that is the one that is named.
func TestPlaced(t *testing.T) {
	b := loadedBench(t, func(c *Config) {
		c.Devices = []string{"cuda:0"}
		load := c.Load
		c.Load = func(device int) (Engine, error) {
			e, err := load(device)
			return placed{e}, err
		}
	})
	if w := b.do("GET", "/readyz", ""); w.Body.String() != `{"status":"ready","devices":{"cpu":"ready"}}` {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if log := b.log.String(); !strings.Contains(log, `msg="model loaded" device=cpu`) {
		t.Errorf("log:\n%s", log)
	}
}
