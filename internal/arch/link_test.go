package arch

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestNoCommandLinksTesting holds the commands to what they need to run: package testing would add its flags and profilers.
func TestNoCommandLinksTesting(t *testing.T) {
	for _, command := range []string{"./cmd/goxl", "./cmd/server"} {
		list := exec.Command("go", "list", "-deps", command)
		list.Dir = root
		out, err := list.Output()
		if err != nil {
			t.Fatalf("%v: %v", list, err)
		}
		packages := strings.Fields(string(out))
		if !slices.Contains(packages, modulePath+"/kernels") {
			t.Fatalf("%v lists %d packages without kernels", list, len(packages))
		}
		for _, p := range packages {
			if first, _, _ := strings.Cut(p, "/"); first == "testing" {
				t.Errorf("%s links %s", command, p)
			}
		}
	}
}
