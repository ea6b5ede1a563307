package job

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// BenchmarkStep is what a step costs its device: an event that a watcher reads.
func BenchmarkStep(b *testing.B) {
	q := newQueue(b, QueueOptions{Capacity: 1})
	submit(b, q, Job{ID: "a"})
	events := watch(b, q, "a", 0)
	go func() {
		for range events { // until the test's context ends
		}
	}()
	l := take(b, q, Taker{})
	for i := 0; b.Loop(); i++ {
		l.Event(Event{Kind: KindStep, Step: i, Steps: 50})
	}
}

// BenchmarkTurn is a job's way through a queue in which 10,000 others of 100 owners wait, but for the disk.
func BenchmarkTurn(b *testing.B) {
	q := newQueue(b, QueueOptions{Capacity: 20_000})
	q.journal.db.NoSync = true
	for i := range 10_000 {
		submit(b, q, Job{ID: fmt.Sprint("first", i), Owner: fmt.Sprint(i % 100)})
	}
	for i := 0; b.Loop(); i++ {
		submit(b, q, Job{ID: fmt.Sprint(i), Owner: fmt.Sprint(i % 100)})
		if err := take(b, q, Taker{}).Done(nil, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTakeUp is the start with 10,000 jobs that wait.
func BenchmarkTakeUp(b *testing.B) {
	j := openJournal(b, JournalOptions{})
	j.db.NoSync = true
	for i := range 10_000 {
		if _, _, err := j.Accept(Job{ID: fmt.Sprint(i), Owner: fmt.Sprint(i % 100)}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		q, err := NewQueue(j, QueueOptions{})
		if err != nil {
			b.Fatal(err)
		}
		q.Close()
	}
}

// BenchmarkListFiltered is the page of a filter that few jobs pass, of a journal in which 10,000 newer jobs wait or are
// done.
func BenchmarkListFiltered(b *testing.B) {
	j := openJournal(b, JournalOptions{})
	j.db.NoSync = true
	request := json.RawMessage(`{"prompt":"` + strings.Repeat("a lighthouse at dusk, ", 40) + `"}`)
	for i := range 10_000 {
		if _, _, err := j.Accept(Job{ID: fmt.Sprint(i), Request: request, Parameters: request}); err != nil {
			b.Fatal(err)
		}
	}
	list := func(b *testing.B, state State) {
		for b.Loop() {
			if page, err := j.List(Filter{States: []State{state}}); err != nil || len(page.Jobs) > 0 {
				b.Fatalf("%d jobs, %v", len(page.Jobs), err)
			}
		}
	}
	b.Run("waiting", func(b *testing.B) { list(b, Done) })
	for i := range 10_000 {
		if _, err := j.Update(fmt.Sprint(i), func(j *Job) error { j.State = Done; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("done", func(b *testing.B) { list(b, Failed) })
}
