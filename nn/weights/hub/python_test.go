package hub_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPythonClient runs tools/reference/hub.py, where the interpreter that PYTHON names, or python3, has
// huggingface_hub: both clients agree on the cache's layout, and each finds complete what the other downloaded.
func TestPythonClient(t *testing.T) {
	python := cmp.Or(os.Getenv("PYTHON"), "python3")
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import huggingface_hub").CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: huggingface_hub of Python: %v %s", err, out)
	}
	goxl := filepath.Join(t.TempDir(), "goxl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", goxl, "github.com/goxl/goxl/cmd/goxl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), python, filepath.FromSlash("../../../tools/reference/hub.py"), goxl).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "agree: goxl and huggingface_hub") {
		t.Errorf("%v\n%s", err, out)
	}
}
