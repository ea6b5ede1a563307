package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// BenchmarkLightRoutes is what routes cost that clients poll, while 10,000 jobs wait, a device computes and others come.
// "connections" asks all of them in turn on 200 connections, each as soon as it has its answer: with the clients in the
// same process its p99-ms is 200 times what a request costs all processors, at least.
func BenchmarkLightRoutes(b *testing.B) {
	const waiting = 10_000
	s := newBench(b, func(c *Config) { c.Queue, c.Metrics = 2*waiting, true })
	s.base.run = func(ctx context.Context, _ sdxl.Request) error {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		return context.Cause(ctx)
	}
	var v jobView
	if err := json.Unmarshal(s.do("POST", "/v1/jobs", plain).Body.Bytes(), &v); err != nil {
		b.Fatal(err)
	}
	template, err := s.journal.Get(v.ID)
	if err != nil {
		b.Fatal(err)
	}
	submitted := make(chan error, 100)
	for worker := range cap(submitted) {
		go func() {
			for range waiting / cap(submitted) {
				j := template
				id, err := s.newID()
				if err == nil {
					j.ID, j.Seq, j.Created, j.Owner = id, 0, time.Time{}, fmt.Sprint(worker%10)
					_, _, err = s.queue.Submit(j)
				}
				if err != nil {
					submitted <- err
					return
				}
			}
			submitted <- nil
		}()
	}
	for range cap(submitted) {
		if err := <-submitted; err != nil {
			b.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // as many come as are computed
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				s.do("POST", "/v1/jobs", plain)
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	paths := map[string]string{
		"job": "/v1/jobs/" + v.ID, "jobs": "/v1/jobs", "jobs-done": "/v1/jobs?state=done", "jobs-open": "/v1/jobs?state=queued,running",
		"healthz": "/healthz", "readyz": "/readyz", "metrics": "/metrics", "queue": "/v1/queue", "page": "/page/app.js", "models": "/v1/models",
	}
	for name, path := range paths {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if w := s.do("GET", path, ""); w.Code != 200 {
					b.Fatalf("%d %s", w.Code, w.Body)
				}
				took = append(took, time.Since(began))
			}
			report(b, took)
		})
	}
	b.Run("connections", func(b *testing.B) {
		const connections = 200
		routes := slices.Sorted(maps.Values(paths))
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
		defer client.CloseIdleConnections()
		var mu sync.Mutex
		var all []time.Duration
		var next atomic.Int64
		b.SetParallelism(connections / runtime.GOMAXPROCS(0))
		b.RunParallel(func(more *testing.PB) {
			var took []time.Duration
			for more.Next() {
				began := time.Now()
				resp, err := client.Get("http://" + l.Addr().String() + routes[int(next.Add(1))%len(routes)])
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				if resp.Body.Close(); err != nil || resp.StatusCode != 200 && resp.StatusCode != 503 {
					b.Errorf("%d, %v", resp.StatusCode, err)
				}
				took = append(took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
		report(b, all)
	})
	if s.queue.Stats().Waiting < waiting/2 {
		b.Errorf("%d jobs wait, %d of them: fewer than half", s.queue.Stats().Waiting, waiting)
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}
