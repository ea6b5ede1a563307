package require

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// recorder is a testing.TB that remembers how a test ended.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper() {}

func (r *recorder) end(how, format string, args ...any) {
	r.ended = how + ": " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.end("failed", format, args...) }
func (r *recorder) Skipf(format string, args ...any)  { r.end("skipped", format, args...) }

// ending is how a test of something missing ends.
func ending(t *testing.T, list, what string) string {
	t.Setenv(Variable, list)
	r := &recorder{TB: t, ended: "went on"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Lacks(r, what, "no such instructions")
	}()
	<-done
	return r.ended
}

func TestLacks(t *testing.T) {
	for _, c := range []struct{ list, what, want string }{
		{"", "avx512", "skipped: NOT TESTED: avx512: no such instructions"},
		{"cuda", "avx512", "skipped: NOT TESTED: avx512: no such instructions"},
		{"avx512", "avx512", "failed: GOXL_REQUIRE wants avx512, which is missing: no such instructions"},
		{"cuda, avx512", "cuda", "failed: GOXL_REQUIRE wants cuda, which is missing"},
		{"cuda,avx512", "avx512", "failed: GOXL_REQUIRE wants avx512"},
		{"cuda,avx521", "cuda", `failed: GOXL_REQUIRE: "avx521" is none of cuda, avx512, avx2`},
		{"avx512", "avx2", "skipped: NOT TESTED: avx2"},
		{"", "avx", `failed: require: "avx" is none of cuda, avx512, avx2`},
	} {
		if got := ending(t, c.list, c.what); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s missing where %q is required: %q, want %q", c.what, c.list, got, c.want)
		}
	}
}
