package sdxl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// ledger is a device's memory on paper.
type ledger struct {
	limit, own, arena int64
	held              []*onPaper
	peak              int64
}

func (l *ledger) used() int64 {
	sum := l.own + l.arena
	for _, n := range l.held {
		sum += n.bytes + n.spare
	}
	return sum
}

func (l *ledger) Memory() (kernels.Memory, error) {
	return kernels.Memory{Limit: l.limit, Used: l.used(), Peak: l.peak, Arena: l.arena}, nil
}

// onPaper is a component's weights.
type onPaper struct {
	name        string
	full, bytes int64
	spare       int64 // what programs of other sizes hold
	left, trims int
}

func (n *onPaper) Bytes() int64 { return n.bytes }
func (n *onPaper) Spare() int64 { return n.spare }
func (n *onPaper) Trim() error {
	n.trims++
	n.spare = 0
	return nil
}

func (n *onPaper) SetResident(_ context.Context, on bool) error {
	if on {
		return errors.New("the planner lets engines bring weights in")
	}
	n.bytes = 0
	n.left++
	return nil
}

const mega = 1_000_000 // bytes; sizes of the full models in fp16

// onCard is base and refiner on a device of a limit.
func onCard(limit int64) (*offloader, *ledger, *bytes.Buffer) {
	var log bytes.Buffer
	l := &ledger{limit: limit, own: 150 * mega}
	r := &offloader{device: l, log: slog.New(slog.NewTextHandler(&log, nil)), said: map[string]bool{}}
	for _, n := range []*onPaper{
		{name: "text_encoder", full: 246 * mega}, {name: "text_encoder_2", full: 1390 * mega}, {name: "unet", full: 5138 * mega},
		{name: "vae", full: 99 * mega}, {name: "refiner's unet", full: 4520 * mega},
	} {
		l.held = append(l.held, n)
		r.components = append(r.components, component{n.name, n})
	}
	return r, l, &log
}

// run is what happens when a program of a component runs: the planner makes room, the engine takes it.
func (l *ledger) run(r *offloader, name string, arena int64) error {
	n := l.held[slices.IndexFunc(l.held, func(n *onPaper) bool { return n.name == name })]
	if err := r.makeRoom(context.Background(), n, kernels.Footprint{Weights: n.full, Missing: n.full - n.bytes, Arena: arena}); err != nil {
		return err
	}
	l.arena = max(l.arena, arena)
	n.bytes = n.full
	if l.used() > l.limit {
		l.arena = arena // the engine gives back what is not needed
	}
	if l.peak = max(l.peak, l.used()); l.used() > l.limit {
		return fmt.Errorf("%s: %d of %d bytes are used", name, l.used(), l.limit)
	}
	return nil
}

// TestOffload draws two images with base and refiner on cards of several sizes, and lists what left on the way.
func TestOffload(t *testing.T) {
	const gibi = 1 << 30
	for _, c := range []struct {
		limit int64
		want  string // what leaves during the second image
	}{
		{16 * gibi, ""},
		{13 * gibi, ""},
		{12 * gibi, "text_encoder"},
		{11 * gibi, "text_encoder_2"},
		{10 * gibi, "text_encoder_2 refiner's unet"},
		{7 * gibi, "text_encoder unet refiner's unet"},
		{6 * gibi, "text_encoder_2 unet vae refiner's unet"},
	} {
		r, l, log := onCard(c.limit)
		var left []string
		evictions := uint64(0)
		for image := range 2 {
			evictions = r.evictions.Load()
			for _, n := range l.held {
				n.left = 0
			}
			for _, p := range []struct {
				name  string
				arena int64
			}{
				{"text_encoder", 2 * mega}, {"text_encoder_2", 3 * mega}, {"unet", 189 * mega}, {"text_encoder_2", 3 * mega},
				{"refiner's unet", 120 * mega}, {"vae", 1342 * mega},
			} {
				if err := l.run(r, p.name, p.arena); err != nil {
					t.Errorf("%d GiB, image %d: %v", c.limit/gibi, image+1, err)
				}
			}
		}
		times := 0
		for _, n := range l.held {
			if times += n.left; n.left > 0 {
				left = append(left, n.name)
			}
		}
		if got := r.evictions.Load() - evictions; got != uint64(times) {
			t.Errorf("%d GiB: %d evictions are counted, want %d", c.limit/gibi, got, times)
		}
		if got := strings.Join(left, " "); got != c.want {
			t.Errorf("%d GiB: %q leave, want %q", c.limit/gibi, got, c.want)
		}
		for _, name := range left {
			if !strings.Contains(log.String(), name) {
				t.Errorf("%d GiB: the log does not say that %s leaves:\n%s", c.limit/gibi, name, log)
			}
		}
		t.Logf("%d GiB: peak %.2f GiB, leaving: %s", c.limit/gibi, float64(l.peak)/gibi, strings.Join(left, ", "))
	}
}

// TestTooLarge asks for more than the device has with everything else gone: an error with the sizes, and nothing has left for it.
func TestTooLarge(t *testing.T) {
	r, l, _ := onCard(8 << 30)
	if err := l.run(r, "text_encoder", mega); err != nil {
		t.Fatal(err)
	}
	err := l.run(r, "unet", 4000*mega)
	if !errors.Is(err, kernels.ErrMemory) {
		t.Fatalf("a run too large says %v", err)
	}
	for _, want := range []string{"unet", "8.65 GiB needed", "weights to come 4.79 GiB", "values of a run 3.73 GiB", "8.00 GiB allowed", "smaller size or batch"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	var sizes *kernels.MemoryError
	if want := int64(150+5138+4000) * mega; !errors.As(err, &sizes) || sizes.Needed != want || sizes.Allowed != 8<<30 {
		t.Errorf("sizes %+v, want %d of %d", sizes, want, int64(8<<30))
	}
	if l.held[0].left > 0 || l.held[0].trims > 0 {
		t.Errorf("text_encoder left %d times and gave back other programs %d times, want 0", l.held[0].left, l.held[0].trims)
	}
	if err := l.run(r, "unet", 189*mega); err != nil {
		t.Errorf("afterwards a smaller one: %v", err)
	}
	l.held[0].spare = l.limit - l.used() - 100*mega
	if err := l.run(r, "vae", 5600*mega); err != nil || l.held[0].trims != 1 {
		t.Errorf("where programs of other sizes have the memory: %v, gave them back %d times, want once", err, l.held[0].trims)
	}
}

// TestEvict holds the choice against every other.
func TestEvict(t *testing.T) {
	components := []component{}
	for i, n := range []int64{5, 7, 11, 20} {
		components = append(components, component{fmt.Sprint(i), &onPaper{bytes: n}})
	}
	for need, want := range map[int64]int64{-3: 0, 0: 0, 1: 5, 6: 7, 8: 11, 12: 12, 13: 16, 17: 18, 19: 20, 24: 25, 43: 43} {
		chosen, ok := evict(components, need)
		var sum int64
		for _, p := range chosen {
			sum += p.network.Bytes()
		}
		if !ok || sum != want {
			t.Errorf("%d needed: %d leave, want %d", need, sum, want)
		}
	}
	if _, ok := evict(components, 44); ok {
		t.Error("44 of 43 are found")
	}
}
