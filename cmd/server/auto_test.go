package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/goxl/goxl/server"
)

// What auto means is settled by the first load: a card that fails then leaves the work to the processor for good, one that fails later is tried again.
func TestOrElse(t *testing.T) {
	type engine struct {
		server.Engine
		on string
	}
	for _, c := range []struct {
		fails []bool // each of the card's loads
		want  string // where each load's engine is; - is an error
		told  int
	}{
		{[]bool{false, false}, "card card", 0},
		{[]bool{true, false}, "cpu cpu", 1},
		{[]bool{false, true, false}, "card - card", 0},
	} {
		told, nth := 0, 0
		broken := errors.New("computes wrongly")
		card := func(int) (server.Engine, error) {
			if nth++; c.fails[nth-1] {
				return nil, broken
			}
			return engine{on: "card"}, nil
		}
		load := orElse(card, func(int) (server.Engine, error) { return engine{on: "cpu"}, nil }, func(err error) {
			if told++; !errors.Is(err, broken) {
				t.Errorf("told %v, want %v", err, broken)
			}
		})
		var got []string
		for range c.fails {
			if e, err := load(0); err != nil {
				got = append(got, "-")
			} else {
				got = append(got, e.(engine).on)
			}
		}
		if strings.Join(got, " ") != c.want || told != c.told {
			t.Errorf("fails %v: %v and told %d times, want %s and %d", c.fails, got, told, c.want, c.told)
		}
	}
}

// A card that passes for one and can't be opened: the server says so, computes on the processor, and that is the device that it names.
func TestAutoFallsBack(t *testing.T) {
	var stderr bytes.Buffer
	log := slog.New(slog.NewTextHandler(&stderr, nil))
	here := processor{log: log}
	here.model, here.models.device.Device, here.models.device.Precision = "synth:tiny", "auto", "auto"
	load := orElse(func(int) (server.Engine, error) { return nil, errors.New("the card is of glass") }, here.load, func(err error) { log.Warn(err.Error()) })
	e, err := load(0)
	if err != nil {
		t.Fatal(err)
	}
	if name := e.(server.Placed).DeviceName(); name != "cpu" || !strings.Contains(stderr.String(), "of glass") {
		t.Errorf("computing on %s, and told %q", name, &stderr)
	}
	if err := errors.Join(e.Close(), here.Close()); err != nil {
		t.Error(err)
	}
}
