package cli

import (
	"bytes"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cpu"
)

// -memory is what the CPU may take; without it that is most of what the system allows. The garbage collector gets that limit, unless GOMEMLIMIT sets one.
func TestMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, c := range []struct {
		args, environment string
		memory, limit     int64
	}{
		{"-device cpu -memory 2GiB", "", 2 << 30, 9 << 28},
		{"-device cpu", "", cpu.DefaultMemory(), cpu.DefaultMemory() / 8 * 9},
		{"-device cpu -memory 800MB", "", 800e6, 900e6},
		{"-device cpu -memory 1GiB", "3GiB", 1 << 30, 12345 << 20},
	} {
		t.Setenv("GOMEMLIMIT", c.environment)
		debug.SetMemoryLimit(12345 << 20)
		info, _, _, err := opened(t, c.args)
		limit := debug.SetMemoryLimit(-1)
		if err != nil || info.Memory != c.memory || limit < c.limit-8 || limit > c.limit+8 {
			t.Errorf("%q: %d bytes, %v, the collector's limit %d; want %d and about %d", c.args, info.Memory, err, limit, c.memory, c.limit)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "11GiB": 11 << 30, "1.5GiB": 3 << 29, "512MiB": 512 << 20, "8GB": 8e9, "1KB": 1000, "100B": 100, "1TiB": 1 << 40,
	} {
		var s Size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%s is %d, %v; want %d", text, s, err, want)
		}
		var again Size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%s is shown as %s, which reads as %d, %v", text, &s, again, err)
		}
	}
	for _, text := range []string{"", "11", "GiB", "-1GiB", "NaNGiB", "InfGiB", "11 GiB", "11gib", "99999999TiB", "11GiBs"} {
		s := Size(7)
		if err := s.Set(text); err == nil || !strings.Contains(err.Error(), "such as 11GiB") || s != 7 {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	var output bytes.Buffer
	fs, _ := flags(&output)
	if got := Exit(fs, Parse(fs, []string{"-gpu-memory", "11"})); got != StatusUsage || !strings.Contains(output.String(), `invalid value "11" for flag -gpu-memory: must be 0 or a number and one of B`) {
		t.Errorf("status %d, wrote %q", got, &output)
	}
}
