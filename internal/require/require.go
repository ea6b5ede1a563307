// Package require is how tests deal with hardware that a machine may lack: they are skipped, and say NOT TESTED, unless
// the environment's GOXL_REQUIRE lists it. It serves tests only.
package require

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Variable names the environment's list, separated by commas, of what must be there.
const Variable = "GOXL_REQUIRE"

// hardware is what the list may name.
var hardware = []string{"cuda", "avx512", "avx2"}

// Lacks ends a test for which the machine lacks something of the list's names, and says why: skipped, or as a failure
// where it is required.
func Lacks(t testing.TB, what string, why any) {
	t.Helper()
	if Wants(t, what) {
		t.Fatalf("%s wants %s, which is missing: %v", Variable, what, why)
	}
	t.Skipf("NOT TESTED: %s: %v", what, why)
}

// Wants reports whether something is required. A name in the list that is none fails the test, since nothing would be
// held to it.
func Wants(t testing.TB, what string) bool {
	t.Helper()
	if !slices.Contains(hardware, what) {
		t.Fatalf("require: %q is none of %s", what, strings.Join(hardware, ", "))
	}
	list := strings.FieldsFunc(os.Getenv(Variable), func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range list {
		if !slices.Contains(hardware, name) {
			t.Fatalf("%s: %q is none of %s", Variable, name, strings.Join(hardware, ", "))
		}
	}
	return slices.Contains(list, what)
}
