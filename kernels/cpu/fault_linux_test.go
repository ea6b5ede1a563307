package cpu

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestTruncatedFile cuts a mapped file of weights off under a compiled program: the run fails, the process does not.
func TestTruncatedFile(t *testing.T) {
	const n = 256
	path := filepath.Join(t.TempDir(), "weights")
	for _, v := range variants() {
		for _, rows := range []int{1, 200} {
			if err := os.WriteFile(path, make([]byte, 2*n*n), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			data, err := syscall.Mmap(int(f.Fd()), 0, 2*n*n, syscall.PROT_READ, syscall.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Munmap(data)
			var s planner
			x := s.value(kernels.Step, kernels.F32, "x", rows, n)
			w := s.weight("w", make([]float32, n*n), kernels.F16, n, n)
			s.source.tensors["w"] = memoryTensor{kernels.F16, []int{n, n}, data}
			s.node(t, "proj", kernels.Linear{}, kernels.Result, x, w)
			p := s.compile(t, newTestDevice(t, Options{Threads: 3, Variant: v.name}))
			run(t, p)
			if err := f.Truncate(0); err != nil {
				t.Fatal(err)
			}
			if err := p.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "proj: ") || !strings.Contains(err.Error(), " address") {
				t.Errorf("%s, %d rows: error %v", v.name, rows, err)
			}
		}
	}
}
