package job

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const killVariable = "GOXL_TEST_JOURNAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(killVariable); path != "" {
		if err := acceptUntilKilled(path, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// acceptUntilKilled submits jobs in several goroutines, and lets takers end them, and says each that was answered.
func acceptUntilKilled(path string, out io.Writer) error {
	j, err := OpenJournal(path, JournalOptions{})
	if err != nil {
		return err
	}
	q, err := NewQueue(j, QueueOptions{Capacity: 1000, MaxAttempts: 1000})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(what string, id string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(out, "%s %s\n", what, id) // the parent reads until the end
	}
	failed := make(chan error, 8)
	for range 4 {
		go func() {
			for {
				id := fmt.Sprintf("%x", rand.Uint64())
				if _, _, err := q.Submit(Job{ID: id, Owner: id[:1]}); err != nil && !isFull(err) {
					failed <- err
					return
				} else if err == nil {
					say("accepted", id)
				}
			}
		}()
	}
	for range 2 {
		go func() {
			for {
				l, err := q.Take(context.Background(), Taker{})
				if err == nil {
					err = l.Done([]Blob{{ID: "blob " + l.Job().ID, Bytes: 1}}, nil, nil)
				}
				if err != nil {
					failed <- err
					return
				}
				say("done", l.Job().ID)
			}
		}()
	}
	return <-failed
}

// No job that was answered is lost, and none that is done is open again, when a process is killed at any moment; what
// it was doing is taken up by the next one.
func TestKill(t *testing.T) {
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), "jobs.db")
	accepted, done := map[string]bool{}, map[string]bool{}
	for range rounds {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), killVariable+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for left := random.Intn(200); left > 0 && lines.Scan(); left-- { // so many, and then some microseconds
			note(t, lines.Text(), accepted, done)
		}
		time.Sleep(time.Duration(random.Intn(3000)) * time.Microsecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			note(t, lines.Text(), accepted, done)
		}
		var exit *exec.ExitError
		if err := child.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("the child was not killed: %v", err)
		}
	}
	j, err := OpenJournal(path, JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for id := range accepted {
		job, err := j.Get(id)
		if err != nil || done[id] && (job.State != Done || len(job.Outputs) != 1) {
			t.Errorf("%s, done %v: %+v, %v", id, done[id], job, err)
		}
	}
	q, err := NewQueue(j, QueueOptions{MaxAttempts: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	open := q.Stats().Waiting
	for range open {
		if err := take(t, q, Taker{}).Done(nil, nil, nil); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d accepted, %d said to be done, %d open at the end", len(accepted), len(done), open)
	if len(accepted) < rounds {
		t.Errorf("%d jobs in %d rounds: nothing was tried", len(accepted), rounds)
	}
}

// note reads what a child says.
func note(t *testing.T, line string, accepted, done map[string]bool) {
	t.Helper()
	var what, id string
	if _, err := fmt.Sscan(line, &what, &id); err != nil {
		t.Errorf("%q: %v", line, err)
	}
	switch what {
	case "accepted":
		accepted[id] = true
	case "done":
		done[id] = true
	default:
		t.Errorf("%q", line)
	}
}

func isFull(err error) bool {
	var full *FullError
	return errors.As(err, &full)
}
