package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// client sends requests and notes how long answers took, and those that must not be.
type client struct {
	http   *http.Client
	base   func() string // of URLs
	report *report
	times  *latencies

	answered, refused atomic.Int64 // refused: 503 with Retry-After
}

func newClient(base func() string, r *report, times *latencies) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 1000
	transport.Proxy, transport.DisableCompression = nil, true
	return &client{http: &http.Client{Transport: transport}, base: base, report: r, times: times}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// request is what is sent.
type request struct {
	name, method, path string // name is what its time is noted as; "" is not noted
	body               []byte
	kind               string // media type of body
	header             [][2]string
}

// answer is what comes back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s", a.status, a.body[:min(len(a.body), 300)])
}

// object reads the answer as JSON.
func (a answer) object(into any) error { return json.Unmarshal(a.body, into) }

func (c *client) open(ctx context.Context, q request) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, c.base()+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.kind != "" {
		r.Header.Set("Content-Type", q.kind)
	}
	for _, h := range q.header {
		r.Header.Set(h[0], h[1])
	}
	return c.http.Do(r)
}

// once sends a request. An answer that must not be is noted.
func (c *client) once(ctx context.Context, q request) (a answer, err error) {
	began := time.Now()
	resp, err := c.open(ctx, q)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, err
	}
	c.answered.Add(1)
	switch {
	case a.status == http.StatusServiceUnavailable:
		c.refused.Add(1)
	case q.name != "":
		c.times.add(q.name, time.Since(began))
	}
	if why := badStatus(a.status, a.header.Get("Retry-After")); why != "" {
		c.report.violate(why, "%s %s: %s", q.method, q.path, a)
	}
	return a, nil
}

// badStatus says why no client should ever get an answer, "" if it may.
func badStatus(status int, retryAfter string) string {
	if status < 500 || status == http.StatusNotImplemented {
		return ""
	}
	if status != http.StatusServiceUnavailable {
		return "an answer 5xx that is not 503"
	}
	if n, err := strconv.Atoi(retryAfter); err != nil || n < 1 {
		return "503 without Retry-After"
	}
	return ""
}

// mostWaited is how long a client waits at most before it asks again.
const mostWaited = 10 * time.Second

// do sends a request, again as long as the server says that it is busy.
func (c *client) do(ctx context.Context, q request) (a answer, err error) {
	for {
		a, err = c.once(ctx, q)
		if err != nil || a.status != http.StatusServiceUnavailable {
			return a, err
		}
		n, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil {
			n = 1 // which was noted
		}
		select {
		case <-time.After(min(time.Duration(n)*time.Second, mostWaited)):
		case <-ctx.Done():
			return a, context.Cause(ctx)
		}
	}
}

func (c *client) get(ctx context.Context, path string) (answer, error) {
	return c.once(ctx, request{method: "GET", path: path})
}

// post sends an object as JSON, under the path's name.
func (c *client) post(ctx context.Context, path string, body map[string]any, header ...[2]string) (answer, error) {
	return c.do(ctx, jsonRequest("POST", path, body, header...))
}

// jsonRequest is a request with an object of texts, numbers and such.
func jsonRequest(method, path string, body map[string]any, header ...[2]string) request {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // these have a form
	}
	return request{name: method + " " + path, method: method, path: path, kind: "application/json", body: text, header: header}
}

// jobRecord is what is read of a job.
type jobRecord struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Attempts int    `json:"attempts"`
	Steps    int    `json:"steps"`
	Step     int    `json:"step"`
	Images   []struct {
		ID   string  `json:"id"`
		URL  string  `json:"url"`
		Seed *uint64 `json:"seed"`
		Type string  `json:"type"`
	} `json:"images"`
	Inputs []struct {
		ID string `json:"id"`
	} `json:"inputs"`
	Error *struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
	} `json:"error"`
}

func (j jobRecord) ended() bool {
	return j.State == "done" || j.State == "failed" || j.State == "cancelled"
}

// job asks for a job.
func (c *client) job(ctx context.Context, id string) (j jobRecord, status int, err error) {
	a, err := c.do(ctx, request{method: "GET", path: "/v1/jobs/" + id})
	if err != nil || a.status != http.StatusOK {
		return j, a.status, err
	}
	return j, a.status, a.object(&j)
}

// untilEnded asks for a job until it has ended.
func (c *client) untilEnded(ctx context.Context, id string) (j jobRecord, status int, err error) {
	for {
		j, status, err = c.job(ctx, id)
		if err != nil || status != http.StatusOK || j.ended() {
			return j, status, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return j, status, fmt.Errorf("job %s stays %s: %w", id, j.State, context.Cause(ctx))
		}
	}
}

// metric is the sum of a metric's samples whose labels contain a text.
func (c *client) metric(ctx context.Context, name, labels string) (sum float64, err error) {
	a, err := c.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	return sumOfMetric(string(a.body), name, labels)
}

func sumOfMetric(text, name, labels string) (sum float64, err error) {
	found := false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' || !strings.Contains(rest, labels) {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s with %q", name, labels)
	}
	return sum, nil
}
