package main

import (
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job"
)

// An image is as wanted in nothing less than its pixels, its size and its parameters.
func TestImageCheck(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 64, 32))
	texts := []imagefile.Text{{Key: "parameters", Value: "two cats\nSteps: 2, Sampler: Euler, CFG scale: 4, Seed: 5, Size: 64x32"}}
	file := func() []byte {
		data, err := imagefile.Encode(img, texts)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	data := file()
	w := want{width: 64, height: 32, prompt: "two cats", steps: 2, seed: 5, kind: "image/png", recipe: "a"}
	pixels, err := w.check(data)
	if err != nil {
		t.Fatal(err)
	}
	var made recipes
	if err := errors.Join(made.compare("a", pixels), made.compare("a", pixels), made.compare("", [32]byte{})); err != nil || made.compared != 1 {
		t.Errorf("%v, compared %d", err, made.compared)
	}
	img.Pix[9]++
	other, err := w.check(file())
	if err != nil || made.compare("a", other) == nil {
		t.Errorf("another pixel is not seen: %v", err)
	}
	for name, wrong := range map[string]func(*want) []byte{
		"width":  func(w *want) []byte { w.width++; return data },
		"height": func(w *want) []byte { w.height--; return data },
		"prompt": func(w *want) []byte { w.prompt = "two dogs"; return data },
		"steps":  func(w *want) []byte { w.steps++; return data },
		"seed":   func(w *want) []byte { w.seed++; return data },
		"kind":   func(w *want) []byte { w.kind = "image/jpeg"; return data },
		"cut":    func(*want) []byte { return data[:len(data)-20] },
		"none":   func(*want) []byte { return nil },
		"bit": func(*want) []byte {
			flipped := slices.Clone(data)
			flipped[len(flipped)-30] ^= 4
			return flipped
		},
	} {
		bad := w
		if _, err := bad.check(wrong(&bad)); err == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}

// Files to upload are of the type that they are said to be.
func TestNoise(t *testing.T) {
	for _, kind := range []string{"image/png", "image/jpeg", "image/webp"} {
		data, err := noise(rand.New(rand.NewPCG(1, 2)), 64, 32, kind)
		if err != nil {
			t.Fatal(err)
		}
		_, err = want{width: 64, height: 32, kind: kind}.check(data)
		if err == nil || !strings.Contains(err.Error(), "parameters") { // which it has none of
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestPlan(t *testing.T) {
	l := load{requests: 1000, s: &setup{seed: 3}}
	count := map[string]int{}
	first, again := l.plan(), l.plan()
	for i, o := range first {
		count[o.name]++
		if again[i].name != o.name {
			t.Fatalf("one seed has two plans: %d is %s and %s", i, o.name, again[i].name)
		}
	}
	if len(first) != 1000 {
		t.Errorf("%d requests of 1000", len(first))
	}
	for _, o := range operations {
		if count[o.name] == 0 {
			t.Errorf("nobody does %s", o.name)
		}
	}
}

func TestExpectations(t *testing.T) {
	for _, test := range []struct {
		e        expectation
		statuses []int
		closed   bool
		ok       bool
	}{
		{rejected, []int{400}, true, true}, {rejected, []int{400}, false, false}, {rejected, []int{200}, true, false}, {rejected, []int{400, 200}, true, false},
		{rejected, nil, true, false}, {single, []int{200}, true, true}, {single, []int{200}, false, false}, {single, []int{422, 200}, true, false},
		{most1, nil, true, true}, {most1, []int{200}, false, true}, {most1, []int{200, 200}, false, false},
		{exactly1, []int{200}, false, true}, {exactly1, []int{200}, true, false},
		{exactly2, []int{422, 200}, false, true}, {exactly2, []int{200}, false, false}, {exactly2, []int{200, 404}, false, false},
	} {
		if err := test.e.check(test.statuses, test.closed); (err == nil) != test.ok {
			t.Errorf("%d, %v, closed %v: %v", test.e, test.statuses, test.closed, err)
		}
	}
}

// Each answer on a connection counts, and whether it ends.
func TestExchange(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for _, n := range []int{0, 1, 2} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, err = c.Write([]byte(strings.Repeat(answer, n)))
				err = errors.Join(err, c.Close())
			}
			ended <- err
		}()
		statuses, closed, err := exchange(t.Context(), l.Addr().String(), "GET / HTTP/1.1\r\n\r\n")
		if len(statuses) != n || !closed || err != nil {
			t.Errorf("%d answers: %v, closed %v, %v", n, statuses, closed, err)
		}
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
	}
}

// What a damaged journal gives is compared record by record.
func TestDamageCompare(t *testing.T) {
	open, ended := job.Job{ID: "a", State: job.Queued, Seq: 1}, job.Job{ID: "b", State: job.Done, Seq: 2, Outputs: []job.Blob{{ID: "x"}}}
	last := job.Job{ID: "c", State: job.Cancelled, Seq: 3}
	d := damage{records: map[string]job.Job{"a": open, "b": ended, "c": last}, before: map[string]job.Job{"a": open, "b": ended}}
	lost := job.Job{ID: "a", State: job.Failed, Seq: 1, Error: &job.Error{Kind: job.KindDamagedRecord}}
	other := ended
	other.Outputs = []job.Blob{{ID: "y"}}
	for _, test := range []struct {
		name    string
		got     map[string]job.Job
		damaged []string
		log     string
		outcome string
		wrong   int
	}{
		{"whole", map[string]job.Job{"a": open, "b": ended, "c": last}, nil, "", "as it was written", 0},
		{"repaired", map[string]job.Job{"a": open, "b": ended, "c": last}, nil, "made anew", "repaired", 0},
		{"the last write", map[string]job.Job{"a": open, "b": ended}, nil, "may be lost", "the last write is lost, and the log says so", 0},
		{"the last write, silently", map[string]job.Job{"a": open, "b": ended}, nil, "", "as it was written", 1},
		{"reported", map[string]job.Job{"a": open, "c": last}, []string{"b"}, "", "records are reported as damaged", 0},
		{"failed", map[string]job.Job{"a": lost, "b": ended, "c": last}, nil, "x", "an open job has failed, and says why", 0},
		{"another image", map[string]job.Job{"a": open, "b": other, "c": last}, nil, "", "as it was written", 1},
		{"one too many", map[string]job.Job{"a": open, "b": ended, "c": last, "d": last}, nil, "", "as it was written", 1},
		{"none", nil, nil, "", "as it was written", 3},
	} {
		if o := d.compare(test.got, test.damaged, test.log); o.name != test.outcome || len(o.wrong) != test.wrong {
			t.Errorf("%s: %q, %q", test.name, o.name, o.wrong)
		}
	}
}

func TestTrend(t *testing.T) {
	series := func(f func(x float64) float64) (list []sample) {
		for i := range 1000 {
			list = append(list, sample{images: i, resident: f(float64(i) / 1000)})
		}
		return list
	}
	value := func(s sample) float64 { return s.resident }
	flat := trendOf(series(func(float64) float64 { return 100 }), 1000, value)
	if math.Abs(flat.change) > 1e-9 || math.Abs(flat.slope) > 1e-6 || flat.mean != 100 {
		t.Errorf("flat: %+v", flat)
	}
	grows := trendOf(series(func(x float64) float64 { return 100 + 10*x }), 1000, value)
	if math.Abs(grows.slope-1000/105.0) > 0.1 || math.Abs(grows.change-100*(108.75/103.75-1)) > 0.1 || grows.most < 109 || grows.least != 100 {
		t.Errorf("10 %%: %+v", grows)
	}
}

func TestMedian(t *testing.T) {
	if median([]float64{3, 1, 2}) != 2 || median([]float64{4, 1, 2, 3}) != 2.5 || median([]float64{7}) != 7 {
		t.Error("a median is not in the middle")
	}
}

func TestOverheadJudge(t *testing.T) {
	for name, test := range map[string]struct {
		all, plain, alone float64
		ok                bool
	}{
		"equal": {1, 1, 1, true}, "a little": {0.995, 1, 1, true}, "previews": {0.98, 1, 1.1, false}, "journal": {0.98, 0.98, 1, false},
	} {
		o, r := overhead{tolerance: 1, s: &setup{}}, newReport()
		o.judge(r, []float64{test.all}, []float64{test.plain}, []float64{0}, []float64{test.alone})
		if err := r.end(&strings.Builder{}); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReport(t *testing.T) {
	r := newReport()
	r.figure("images", "%d", 7)
	var out strings.Builder
	if err := r.end(&out); err != nil || !strings.Contains(out.String(), "images") || !strings.Contains(out.String(), "violations  0") {
		t.Errorf("%v\n%s", err, &out)
	}
	for range 9 {
		r.violate("lost", "job %d", 1)
	}
	out.Reset()
	if err := r.end(&out); err == nil || !strings.Contains(out.String(), "VIOLATED: lost") || strings.Count(out.String(), "job 1") != mostExamples {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Arguments that can't be are refused with what is allowed.
func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"": "must be one of damage, hostile, kill, load, memory, overhead", "nothing": "must be one of", "load": "-server is missing",
		"load -server x -size 65": "-size is 65", "load -server x -steps 1": "-steps is 1", "load -server x -requests 0": "-requests is 0",
		"kill -server x -kills 0": "-kills is 0", "damage -server x -jobs 0": "-jobs is 0", "hostile -server x -hold 1ms": "-hold 1ms",
		"memory -server x -images 3": "-images is 3", "overhead -server x": "-goxl is missing", "overhead -server x -goxl y -blocks 0": "-blocks is 0",
		"load -server x -folder .": "must be empty",
	} {
		if err := run(strings.Fields(args), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestKilobytes(t *testing.T) {
	const status = "Name:\tx\nVmRSS:\t  1234 kB\nRssAnon:\t 56 kB\n"
	if n, err := kilobytes(status, "VmRSS"); err != nil || n != 1234<<10 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := kilobytes(status, "VmSwap"); err == nil {
		t.Error("what is not there has a value")
	}
}

func TestSpread(t *testing.T) {
	if got := spread([]time.Duration{time.Millisecond, 3 * time.Millisecond}); got != "     2 requests, p50      1.0 ms, p99      3.0 ms, max      3.0 ms" {
		t.Errorf("%q", got)
	}
}
