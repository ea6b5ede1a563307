package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// event is one of a job's.
type event struct {
	id   uint64
	name string
	data []byte
}

// ends reports whether it is a job's last.
func (e event) ends() bool { return e.name == "done" || e.name == "failed" || e.name == "cancelled" }

// readEvent reads the next event; io.EOF where a stream ends.
func readEvent(r *bufio.Reader) (e event, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "":
			if e.name != "" {
				return e, nil
			}
		case "id":
			if e.id, err = strconv.ParseUint(value, 10, 64); err != nil {
				return e, err
			}
		case "event":
			e.name = value
		case "data":
			e.data = []byte(value)
		}
	}
}

// follow reads the events of a job until its last. After events of which drop says so, the connection is left, and the
// next one goes on by Last-Event-ID. Numbers that do not grow, a stream that ends without the last event, and an end
// that is not the job's are errors. It returns how often a connection was left.
func (c *client) follow(ctx context.Context, id string, drop func() bool) (drops int, err error) {
	var last uint64
	for {
		end, left, err := c.followOnce(ctx, id, &last, drop)
		switch {
		case err != nil:
			return drops, fmt.Errorf("events of job %s after %d: %w", id, last, err)
		case !left && end.name == "":
			return drops, fmt.Errorf("events of job %s end after %d without the last", id, last)
		case !left:
			var j jobRecord
			if err := json.Unmarshal(end.data, &j); err != nil || j.ID != id || j.State != end.name {
				return drops, fmt.Errorf("the last event of job %s is %s with %s", id, end.name, end.data)
			}
			return drops, nil
		}
		drops++
	}
}

// followOnce reads events from one connection: until the last, or until it is left.
func (c *client) followOnce(ctx context.Context, id string, last *uint64, drop func() bool) (end event, left bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := request{method: "GET", path: "/v1/jobs/" + id + "/events"}
	if *last > 0 {
		q.header = [][2]string{{"Last-Event-ID", strconv.FormatUint(*last, 10)}}
	}
	resp, err := c.open(ctx, q)
	if err != nil {
		return end, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return end, false, fmt.Errorf("status %s", resp.Status)
	}
	c.answered.Add(1)
	events := bufio.NewReader(resp.Body)
	for {
		e, err := readEvent(events)
		if err == io.EOF {
			return end, false, nil
		}
		if err != nil {
			return end, false, err
		}
		if e.id <= *last {
			return end, false, fmt.Errorf("event %d came after %d", e.id, *last)
		}
		*last = e.id
		if e.ends() {
			return e, false, nil
		}
		if drop() {
			return end, true, nil
		}
	}
}
