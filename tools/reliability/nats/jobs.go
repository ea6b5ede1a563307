package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// record is what is read of a job.
type record struct {
	ID       string     `json:"id"`
	State    string     `json:"state"`
	Attempts int        `json:"attempts"`
	Ended    *time.Time `json:"ended"`
	Images   []struct {
		URL string `json:"url"`
	} `json:"images"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// ask sends a request until the API answers it: it may be dead just now.
func (p *plan) ask(ctx context.Context, method, path, key, body string) (status int, answer []byte, err error) {
	for {
		r, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+path, strings.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			answer, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close() // it was read
			if err == nil && resp.StatusCode != http.StatusServiceUnavailable {
				return resp.StatusCode, answer, nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return 0, nil, context.Cause(ctx)
		}
	}
}

// submit submits jobs, several at once, each with a key so that one that is sent twice is one.
func (p *plan) submit(ctx context.Context, n int) ([]string, error) {
	ids := make([]string, n)
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range n {
			next <- i
		}
	}()
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range 8 {
		all.Go(func() {
			for i := range next {
				var j record
				body := fmt.Sprintf(`{"prompt":"job %d","width":64,"height":64,"num_inference_steps":4}`, i)
				status, answer, err := p.ask(ctx, "POST", "/v1/jobs", fmt.Sprintf("round %d job %d", p.round, i), body)
				if err == nil && (status != http.StatusAccepted && status != http.StatusOK || json.Unmarshal(answer, &j) != nil) {
					err = fmt.Errorf("job %d: %d %s", i, status, answer)
				}
				mu.Lock()
				ids[i] = j.ID
				if err != nil && failed == nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return ids, failed
}

// verify checks that each job is done, and that its image is whole. It returns the largest number of attempts, and when
// the last job ended.
func (p *plan) verify(ctx context.Context, ids []string) (attempts int, last time.Time, err error) {
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			return 0, last, fmt.Errorf("the id %s was given twice", id)
		}
		seen[id] = true
		var j record
		for { // its result may be on its way to the disk
			status, answer, err := p.ask(ctx, "GET", "/v1/jobs/"+id, "", "")
			if err != nil {
				return 0, last, err
			}
			if status != http.StatusOK || json.Unmarshal(answer, &j) != nil {
				return 0, last, fmt.Errorf("job %s is lost: %d %s", id, status, answer)
			}
			if j.Ended != nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if j.State != "done" || len(j.Images) != 1 {
			return 0, last, fmt.Errorf("job %s is %s after %d attempts: %+v", id, j.State, j.Attempts, j.Error)
		}
		_, data, err := p.ask(ctx, "GET", j.Images[0].URL, "", "")
		if err != nil {
			return 0, last, err
		}
		if _, err := png.Decode(bytes.NewReader(data)); err != nil {
			return 0, last, fmt.Errorf("the image of job %s: %w", id, err)
		}
		attempts = max(attempts, j.Attempts)
		if j.Ended.After(last) {
			last = *j.Ended
		}
	}
	return attempts, last, nil
}
