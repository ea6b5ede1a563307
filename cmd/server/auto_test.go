package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/goxl/goxl/server/engine"
)

// What auto means is settled by the first load: a card that fails then leaves the work to the CPU for good, one that fails later is tried again.
func TestWithFallback(t *testing.T) {
	type loaded struct {
		engine.Engine // of which nothing is called
		on            string
	}
	for _, c := range []struct {
		fails    []bool // each of the card's loads
		want     string // where each load's engine is; - is an error
		warnings int
	}{
		{[]bool{false, false}, "card card", 0},
		{[]bool{true, false}, "cpu cpu", 1},
		{[]bool{false, true, false}, "card - card", 0},
	} {
		warned, nth := 0, 0
		broken := errors.New("computes wrongly")
		card := func(int) (engine.Engine, error) {
			if nth++; c.fails[nth-1] {
				return nil, broken
			}
			return loaded{on: "card"}, nil
		}
		load := withFallback(card, func(int) (engine.Engine, error) { return loaded{on: "cpu"}, nil }, func(err error) {
			if warned++; !errors.Is(err, broken) {
				t.Errorf("warned of %v, want %v", err, broken)
			}
		})
		var got []string
		for range c.fails {
			if e, err := load(0); err != nil {
				got = append(got, "-")
			} else {
				got = append(got, e.(loaded).on)
			}
		}
		if strings.Join(got, " ") != c.want || warned != c.warnings {
			t.Errorf("fails %v: %v and %d warnings, want %s and %d", c.fails, got, warned, c.want, c.warnings)
		}
	}
}

// A card that passes for one and can't be opened: the server says so, computes on the CPU, and that is the device that it names.
func TestAutoFallsBack(t *testing.T) {
	var stderr bytes.Buffer
	log := slog.New(slog.NewTextHandler(&stderr, nil))
	fallback := cpu{log: log}
	fallback.model, fallback.models.device.Device, fallback.models.device.Precision = "synth:tiny", "auto", "auto"
	load := withFallback(func(int) (engine.Engine, error) { return nil, errors.New("the card is of glass") }, fallback.load, func(err error) { log.Warn(err.Error()) })
	e, err := load(0)
	if err != nil {
		t.Fatal(err)
	}
	if name := e.DeviceName(); name != "cpu" || !strings.Contains(stderr.String(), "of glass") {
		t.Errorf("computing on %s, and warned %q", name, &stderr)
	}
	if err := errors.Join(e.Close(), fallback.Close()); err != nil {
		t.Error(err)
	}
}
