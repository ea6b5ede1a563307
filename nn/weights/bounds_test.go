package weights

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestBounds(t *testing.T) {
	tensors := map[string]Tensor{}
	for _, name := range []string{"down.0.a", "down.0.b", "down.1.a", "down.10.a", "down.2", "down.9000000000.a", "down.x.a", "down.1x.a", "down", "downs.4.a", "up.0.conv.0.w", "up.0.conv.1.w", "up.1.w"} {
		tensors[name] = NewTensor(name, kernels.F16, []int{2, 3}, make([]byte, 12))
	}
	b := NewBounds(FromMap(tensors), "config.json")
	for list, want := range map[string]int{"down": 5, "down.0": 0, "up": 2, "up.0.conv": 2, "up.2.conv": 0, "none": 0, "dow": 0} {
		if err := b.Count("n", want, 0, list); err != nil {
			t.Errorf("%s: %v", list, err)
		}
		for _, n := range []int{want + 1, 1 << 62, -1} {
			err := b.Count("n", n, 0, list)
			var ce *ConfigError
			if !errors.As(err, &ce) || ce.File != "config.json" || ce.Key != "n" || ce.Value != fmt.Sprint(n) || !strings.Contains(ce.Allowed, fmt.Sprintf("0 to %d,", want)) {
				t.Errorf("%s, %d: error %v", list, n, err)
			}
		}
		if err := b.Count("n", want, 1, list); err == nil {
			t.Errorf("%s: one more than there are is taken", list)
		}
	}
	if err := b.Count("n", 1<<63-1, 1<<62, "down"); err == nil {
		t.Error("an overflow is taken")
	}
	for path, want := range map[string]bool{"down": true, "down.0": true, "down.1": true, "down.2": true, "down.3": false, "up": true, "up.0.conv.0.w": true, "u": false, "dow": false} {
		if b.Has(path) != want {
			t.Errorf("Has(%s) is %v", path, !want)
		}
	}
	for _, c := range []struct {
		n      int
		tensor string
		axis   int
		ok     bool
	}{{3, "down", 1, true}, {4, "down", 1, false}, {1 << 62, "down", 0, false}, {9, "down", 2, true}, {9, "none", 0, true}, {0, "down", 0, true}} {
		if err := b.Sizes(Size{"n", c.n, c.tensor, c.axis}); (err == nil) != c.ok {
			t.Errorf("%+v: error %v", c, err)
		}
	}
	if err := b.Sizes(Size{"n", 3, "down", 1}, Size{"n", 4, "down", 1}, Size{"m", 9, "down", 1}); err == nil || err.Error() != `config.json: "n" is 4; allowed: at most 3, since down is [2 3]` {
		t.Errorf("error %v", err)
	}
}
