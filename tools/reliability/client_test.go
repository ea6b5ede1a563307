package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestBadStatus(t *testing.T) {
	for _, test := range []struct {
		status int
		retry  string
		bad    bool
	}{
		{200, "", false}, {422, "", false}, {499, "", false}, {501, "", false}, {500, "", true}, {500, "1", true}, {504, "", true},
		{503, "1", false}, {503, "", true}, {503, "0", true}, {503, "soon", true},
	} {
		if got := badStatus(test.status, test.retry); (got != "") != test.bad {
			t.Errorf("%d with %q: %q", test.status, test.retry, got)
		}
	}
}

// testClient is a client of a handler.
func testClient(t *testing.T, h http.HandlerFunc) (*client, *report) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	r := newReport()
	c := newClient(func() string { return s.URL }, r, newLatencies())
	t.Cleanup(c.close)
	return c, r
}

// A client asks again when it is told to, and notes what no server should answer.
func TestClient(t *testing.T) {
	busy := 1
	c, r := testClient(t, func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.URL.Path == "/broken":
			w.WriteHeader(500)
		case busy > 0:
			busy--
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
		default:
			_, _ = w.Write([]byte(`{"id":"x"}`))
		}
	})
	a, err := c.do(t.Context(), request{name: "a", method: "GET", path: "/"})
	if err != nil || a.status != 200 || c.refused.Load() != 1 || len(c.times.sorted("a")) != 1 {
		t.Errorf("%v, %v: %d refused, %d times", a, err, c.refused.Load(), len(c.times.sorted("a")))
	}
	if r.end(&strings.Builder{}) != nil {
		t.Error("503 with Retry-After is a violation")
	}
	if _, err := c.do(t.Context(), request{method: "GET", path: "/broken"}); err != nil || r.end(&strings.Builder{}) == nil {
		t.Errorf("500 is none: %v", err)
	}
}

func TestSumOfMetric(t *testing.T) {
	const text = "# HELP a b\na_sum{stage=\"x\",m=\"1\"} 1.5\na_sum{stage=\"x\",m=\"2\"} 2\na_sum{stage=\"y\"} 8\na_sum_other 9\nb 3\n"
	for _, test := range []struct {
		name, labels string
		want         float64
	}{{"a_sum", `stage="x"`, 3.5}, {"a_sum", "", 11.5}, {"b", "", 3}} {
		if got, err := sumOfMetric(text, test.name, test.labels); err != nil || got != test.want {
			t.Errorf("%s %s: %v, %v", test.name, test.labels, got, err)
		}
	}
	if _, err := sumOfMetric(text, "c", ""); err == nil {
		t.Error("a metric that is not there has a sum")
	}
}

// streams answers with each text in turn, and remembers what it was asked for.
func streams(asked *[]string, texts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Header.Get("Last-Event-ID"))
		_, _ = w.Write([]byte(texts[min(len(*asked), len(texts))-1]))
	}
}

func TestFollow(t *testing.T) {
	const (
		step = "retry: 2000\n\nid: 1\nevent: state\ndata: {}\n\nid: 2\nevent: step\ndata: {}\n\n"
		end  = "id: 3\nevent: done\ndata: {\"id\":\"x\",\"state\":\"done\"}\n\n"
	)
	for _, test := range []struct {
		name  string
		texts []string
		drop  int // after which event
		asked string
		err   string
	}{
		{"whole", []string{step + end}, 0, "", ""},
		{"left and taken up", []string{step, end}, 2, ",2", ""},
		{"no last event", []string{step}, 0, "", "without the last"},
		{"events again", []string{step, step + end}, 2, ",2", "event 1 came after 2"},
		{"the end of another job", []string{strings.Replace(end, `"x"`, `"y"`, 1)}, 0, "", "the last event"},
		{"another state", []string{strings.Replace(end, "event: done", "event: failed", 1)}, 0, "", "the last event"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			c, _ := testClient(t, streams(&asked, test.texts...))
			n := 0
			drops, err := c.follow(t.Context(), "x", func() bool { n++; return n == test.drop })
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, want %q", err, test.err)
			}
			if got := strings.Join(asked, ","); got != test.asked || (test.drop > 0) != (drops == 1) {
				t.Errorf("asked after %q, left %d times", got, drops)
			}
		})
	}
}

func TestReadEvent(t *testing.T) {
	r := bufio.NewReader(strings.NewReader(":\n\nid: 7\nevent: step\ndata: {\"a\": \"b: c\"}\n\n"))
	e, err := readEvent(r)
	if err != nil || e.id != 7 || e.name != "step" || string(e.data) != `{"a": "b: c"}` {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestQuantile(t *testing.T) {
	var list []time.Duration
	for i := range 200 {
		list = append(list, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0.5: 100, 0.99: 198, 1: 200, 0: 1} {
		if got := quantile(list, q); got != want {
			t.Errorf("%v of 1…200 is %d, want %d", q, got, want)
		}
	}
	if quantile(nil, 0.99) != 0 || quantile(list[:1], 0.99) != 1 {
		t.Error("of none, or one")
	}
}

func TestUntilEnded(t *testing.T) {
	n := 0
	c, _ := testClient(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		state := "running"
		if n == 3 {
			state = "done"
		}
		fmt.Fprintf(w, `{"id":"x","state":%q}`, state)
	})
	if j, status, err := c.untilEnded(t.Context(), "x"); err != nil || status != 200 || j.State != "done" || n != 3 {
		t.Errorf("%+v, %d, %v after %d", j, status, err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.untilEnded(ctx, "x"); err == nil {
		t.Error("it waits on")
	}
}
