package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
)

// serverEvent is one of a stream; comments have no name.
type serverEvent struct{ id, name, data string }

// stream reads server-sent events of an open connection.
type stream struct {
	body *bufio.Reader
	resp *http.Response
}

// watch asks for the events of a job on a connection of its own.
func watch(t *testing.T, c net.Conn, id, header string) stream {
	t.Helper()
	send(t, c, "GET /v1/jobs/"+id+"/events HTTP/1.1\r\nHost: x\r\n"+header+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return stream{bufio.NewReader(resp.Body), resp}
}

// next reads an event; io.EOF is the end.
func (s stream) next() (e serverEvent, err error) {
	for {
		line, err := s.body.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case line == "\n" && e != (serverEvent{}):
			return e, nil
		case line == ":\n":
			e.data = "sign of life"
		case name == "id":
			e.id = value
		case name == "event":
			e.name = value
		case name == "data":
			e.data = value
		}
	}
}

// rest reads all events up to the end of the stream.
func (s stream) rest(t *testing.T) (list []serverEvent) {
	t.Helper()
	for {
		e, err := s.next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
}

// stepping makes an engine take steps of a second each.
func stepping(steps int) func(context.Context, sdxl.Request) error {
	return func(ctx context.Context, r sdxl.Request) error {
		for i := range steps {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			r.Progress(sdxl.Progress{Step: i + 1, Steps: steps, Left: time.Duration(steps-i-1) * time.Second})
		}
		return nil
	}
}

// Events come as they happen, up to the end of the job with all that is known of it, and a client that connects again
// goes on where it was.
func TestEvents(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		r.base.run = stepping(3)
		first, second := r.postJob(t, plain), r.postJob(t, plain)
		synctest.Wait()
		began := time.Now()
		s := watch(t, l.dial(t), second.ID, "")
		if h := s.resp.Header; s.resp.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", s.resp.StatusCode, h)
		}
		list := s.rest(t)
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("the stream took %v", took)
		}
		var got []string
		for i, e := range list[:len(list)-1] {
			got = append(got, e.name+e.data)
			if i > 0 && !less(t, list[i-1].id, e.id) {
				t.Errorf("event %s after %s", e.id, list[i-1].id)
			}
		}
		if want := `state{"state":"queued","position":1} state{"state":"running"} step{"step":1,"steps":3,"seconds_left":2} step{"step":2,"steps":3,"seconds_left":1} step{"step":3,"steps":3,"seconds_left":0}`; strings.Join(got, " ") != want {
			t.Errorf("%s, want\n%s", strings.Join(got, " "), want)
		}
		last := list[len(list)-1]
		var v jobView
		if err := json.Unmarshal([]byte(last.data), &v); err != nil || last.name != "done" || v.ID != second.ID || v.State != job.Done || len(v.Images) != 1 || len(v.Parameters) == 0 {
			t.Errorf("%v: %+v", err, last)
		}

		// Of a job that has ended there is its end.
		if list := watch(t, l.dial(t), first.ID, "").rest(t); len(list) != 1 || list[0].name != "done" {
			t.Errorf("%+v", list)
		}
		third := r.postJob(t, plain)
		time.Sleep(1500 * time.Millisecond)
		c := l.dial(t)
		s = watch(t, c, third.ID, "")
		var seen serverEvent
		for seen.name != "step" {
			var err error
			if seen, err = s.next(); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		list = watch(t, l.dial(t), third.ID, "Last-Event-ID: "+seen.id+"\r\n").rest(t)
		if len(list) != 3 || !strings.Contains(list[0].data, `"step":2`) || list[2].name != "done" {
			t.Errorf("%+v", list)
		}
		if w := r.do("GET", "/v1/jobs/"+third.ID+"/events?after=x", ""); w.Code != 422 || !strings.Contains(w.Body.String(), `"loc":["query","after"]`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w := r.do("HEAD", "/v1/jobs/"+third.ID+"/events", ""); w.Code != 200 || w.Body.Len() > 0 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func less(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	if err := errors.Join(err, err2); err != nil {
		t.Error(err)
	}
	return x < y
}

// A stream on which nothing happens stays open with signs of life, ends with its client, and holds nothing.
func TestIdleEvents(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		began, _ := held(r.base)
		v := r.postJob(t, plain)
		<-began
		c := l.dial(t)
		s := watch(t, c, v.ID, "")
		for _, want := range []string{`{"state":"queued"}`, `{"state":"running"}`} {
			if e, err := s.next(); err != nil || !strings.HasPrefix(e.data, want[:len(want)-1]) {
				t.Errorf("%+v, %v, want %s", e, err, want)
			}
		}
		start := time.Now()
		for range 40 {
			if e, err := s.next(); err != nil || e.data != "sign of life" {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		if took := time.Since(start); took != 600*time.Second {
			t.Errorf("40 signs of life took %v", took)
		}
		c.Close()
		synctest.Wait()
		if log := r.last(); !strings.Contains(log, "path=/v1/jobs/"+v.ID+"/events") || !strings.Contains(log, "duration=10m0s") {
			t.Errorf("the stream goes on after its client: %s", log)
		}
		r.do("DELETE", "/v1/jobs/"+v.ID, "")
	})
}

// A client that takes nothing is dropped, and costs the job nothing.
func TestStalledWatcher(t *testing.T) {
	inMemory(t, func(c *Config) { c.SendTimeout = 5 * time.Second }, func(t *testing.T, r *running, l *pipes) {
		r.base.run = stepping(20)
		v := r.postJob(t, plain)
		synctest.Wait()
		c := l.dial(t)
		watch(t, c, v.ID, "") // what follows is not read
		began := time.Now()
		if v := r.finished(t, v.ID); v.State != job.Done || time.Since(began) != 20*time.Second {
			t.Errorf("%+v after %v", v, time.Since(began))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !strings.Contains(r.log.String(), "path=/v1/jobs/"+v.ID+"/events") {
			t.Error("the stream is still open")
		}
	})
}

// The end of the server ends streams at once, a job that is computed when it is done, and leaves one that waits for the
// next server.
func TestDrainOfJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		same := func(c *Config) { c.Images, c.Journal = folder+"/images", folder+"/jobs.db" }
		l := newPipes()
		r := runOn(t, l, same)
		synctest.Wait()
		r.base.run = stepping(10)
		running, queued := r.postJob(t, plain), r.postJob(t, plain)
		attached := l.dial(t)
		send(t, attached, post("/generate", plain))
		synctest.Wait()
		s := watch(t, l.dial(t), running.ID, "")
		began := time.Now()
		r.end()
		s.rest(t)
		if took := time.Since(began); took != 0 {
			t.Errorf("the stream went on for %v", took)
		}
		if resp, body := answer(t, bufio.NewReader(attached)); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began).Truncate(time.Second); took != 20*time.Second { // of the one that ran, and the one whose client waited
			t.Errorf("the drain took %v", took)
		}
		later := loadedBench(t, same)
		if v := later.finished(t, running.ID); v.State != job.Done || v.Attempts != 1 {
			t.Errorf("%+v", v)
		}
		if v := later.finished(t, queued.ID); v.State != job.Done || v.Attempts != 1 {
			t.Errorf("%+v", v)
		}
		if later.base.calls.Load() != 1 {
			t.Errorf("%d computations, want 1", later.base.calls.Load())
		}
	})
}

// A job that is still computed at the end of the drain is computed anew by the next server, and no attempt is counted.
func TestDrainCutsJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		same := func(c *Config) {
			c.Images, c.Journal, c.Drain = folder+"/images", folder+"/jobs.db", 5*time.Second
		}
		r := runOn(t, newPipes(), same)
		synctest.Wait()
		r.base.run = stepping(10)
		cut := r.postJob(t, plain)
		synctest.Wait()
		began := time.Now()
		r.end()
		if err := <-r.ended; err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		later := loadedBench(t, same)
		if v := later.finished(t, cut.ID); v.State != job.Done || v.Attempts != 1 {
			t.Errorf("%+v", v)
		}
	})
}
