package weights

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// resident returns how many bytes of a mapped file this process holds.
func resident(t *testing.T, path string) int {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum, inside := 0, false
	for s := bufio.NewScanner(f); s.Scan(); {
		if !strings.HasSuffix(strings.SplitN(s.Text(), " ", 2)[0], ":") { // a mapping's first line, not one of its figures
			inside = strings.HasSuffix(s.Text(), path)
		} else if kb, ok := strings.CutPrefix(s.Text(), "Rss:"); ok && inside {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kb), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			sum += n << 10
		}
	}
	return sum
}

func TestReleaseGivesMemoryBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	const n = 1 << 20
	src := Synthetic("unet", map[string][]int{"a.weight": {n / 64, 64}}, kernels.F32)
	tensors, err := Tensors(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if equal, err := Equal(f, src); err != nil || !equal {
		t.Fatalf("equal %v, error %v", equal, err)
	}
	_, _, data, err := f.Tensor("a.weight")
	if err != nil {
		t.Fatal(err)
	}
	sum := func() (s int) {
		for i := 0; i < len(data); i += 512 {
			s += int(data[i])
		}
		return s
	}
	want := sum()
	if r := resident(t, path); r < 4*n {
		t.Fatalf("after reading, %d bytes are resident, want %d", r, 4*n)
	}
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	if r := resident(t, path); r != 0 {
		t.Errorf("after Release, %d bytes are resident", r)
	}
	if got := sum(); got != want {
		t.Errorf("read again: %d, want %d", got, want)
	}
}
