package process

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

func launch(t *testing.T, how string) (*Engine, *bytes.Buffer) {
	t.Helper()
	return launchWith(t, how, Config{})
}

func launchWith(t *testing.T, how string, config Config) (*Engine, *bytes.Buffer) {
	t.Helper()
	var stderr bytes.Buffer // read after the program has ended
	c := exec.Command(os.Args[0], asProgram, how)
	c.Stderr = &stderr
	e, err := Start(c, config)
	if err != nil {
		t.Fatal(err)
	}
	return e, &stderr
}

func stop(t *testing.T, e *Engine, stderr *bytes.Buffer) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if got := stderr.String(); got != "served: <nil>" {
		t.Errorf("the program said %q", got)
	}
}

// ask is a job for the base with a prompt.
func ask(prompt string) engine.Job {
	return engine.Job{Model: engine.Base, Request: sdxl.Request{Prompt: prompt}, Parameters: sdxl.Parameters{Images: 1}}
}

// What the program's engine has taken of its device comes with the signs of life, always anew.
func TestUsage(t *testing.T) {
	e, stderr := launchWith(t, "", Config{SilenceTimeout: beats * 100 * time.Millisecond})
	defer stop(t, e, stderr)
	for e.Lost() == nil {
		u, known := e.Usage()
		if !known || u.Evictions < 2 {
			time.Sleep(time.Millisecond)
			continue
		}
		if want := (kernels.Memory{Limit: 1 << 40, Used: 1 << 30}); u.Memory != want {
			t.Errorf("%+v, want %+v", u.Memory, want)
		}
		return
	}
	t.Error(e.Lost())
}

// Calls run beside each other, and a context ends its own alone.
func TestCancel(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := e.Generate(ctx, ask("wait"))
		waiting <- err
	}()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			j := ask("a")
			j.Parameters.Seed = uint64(i)
			if got, err := e.Generate(t.Context(), j); err != nil || got.Parameters.Seed != uint64(i) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	all.Wait()
	if len(waiting) > 0 {
		t.Error("the call that waits ended by itself")
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) || e.Lost() != nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	if _, err := e.Generate(ctx, ask("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// However the program is lost, its calls end, Lost says why, and Close ends it.
func TestLost(t *testing.T) {
	for prompt, says := range map[string]string{
		"die": "the engine's process ended: exit status 7", "panic": "the engine's process ended: exit status 2",
		"fault": "cuda: the card is lost", "killed": "the engine's process ended: signal: killed", "stuck": "the engine did not stop in 50ms",
	} {
		t.Run(prompt, func(t *testing.T) {
			e, _ := launch(t, "")
			e.grace = 50 * time.Millisecond
			beside := make(chan error, 1)
			go func() {
				_, err := e.Generate(context.Background(), ask("wait"))
				beside <- err
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			asked := prompt
			switch prompt {
			case "stuck":
				ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
			case "killed":
				asked = "wait"
				defer time.AfterFunc(20*time.Millisecond, func() {
					if p, err := os.FindProcess(e.Pid()); err == nil {
						_ = p.Kill()
					}
				}).Stop()
			}
			_, err := e.Generate(ctx, ask(asked))
			want := map[string]string{"stuck": "context deadline exceeded", "fault": "cuda: a kernel faulted"}[prompt]
			if want == "" {
				want = says
			}
			if err == nil || err.Error() != want {
				t.Errorf("%v, want %q", err, want)
			}
			if lost := e.Lost(); lost == nil || lost.Error() != says {
				t.Errorf("lost: %v, want %q", lost, says)
			}
			if err := errors.Join(e.Close(), e.Close()); err != nil {
				t.Error(err)
			}
			if err := <-beside; err == nil || err.Error() != says {
				t.Errorf("a call beside it: %v", err)
			}
			if _, err := e.Generate(t.Context(), ask("")); err == nil || err.Error() != says {
				t.Errorf("a call afterwards: %v", err)
			}
		})
	}
}

// A program whose answers can't be read is lost, and ended; nobody waits for it.
func TestGarbage(t *testing.T) {
	e, _ := launch(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := e.Generate(ctx, ask("garbage"))
	if err == nil || ctx.Err() != nil || !strings.HasPrefix(err.Error(), "the engine's answers can't be read: ") || e.Lost() == nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	// Fewer bytes than pixels would make who encodes them panic.
	e, _ = launch(t, "")
	_, err = e.Generate(ctx, ask("odd pixels"))
	const want = "the engine's answers can't be read: process: a message has a *image.NRGBA of (0,0)-(64,64) with a stride of 0 in 0 bytes: must be all of its pixels"
	if err == nil || err.Error() != want || e.Lost() == nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// What a library prints to standard output goes to the log.
func TestNoise(t *testing.T) {
	e, stderr := launch(t, "")
	if _, err := e.Generate(t.Context(), ask("noise")); err != nil || e.Lost() != nil {
		t.Errorf("%v, lost: %v", err, e.Lost())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if got, want := stderr.String(), strings.Repeat("a library's warning\n", 20)+"served: <nil>"; got != want {
		t.Errorf("the program said %q, want %q", got, want)
	}
}

// What can't be started, or opened, is an error, and nothing is left running.
func TestDoesNotStart(t *testing.T) {
	if _, err := Start(exec.Command(os.Args[0], asProgram, "broken"), Config{}); err == nil || err.Error() != "no such model" {
		t.Errorf("%v", err)
	}
	if _, err := Start(exec.Command(os.Args[0], "-test.run=^$"), Config{}); err == nil || !strings.HasPrefix(err.Error(), "the engine's process ended") {
		t.Errorf("a program that does not serve: %v", err)
	}
	if _, err := Start(exec.Command("/nonexistent"), Config{}); err == nil {
		t.Error("a program that is not there was started")
	}
}

// A program whose server is gone ends: while it opens its model, idle, and in the middle of a computation.
func TestServerGone(t *testing.T) {
	for _, when := range []string{"before anything", "opening", "idle", "computing"} {
		in, toProgram := io.Pipe()
		fromProgram, out := io.Pipe()
		served := make(chan error, 1)
		go func() {
			served <- serve(in, out, func(ctx context.Context) (engine.Engine, kernels.Info, error) {
				if when == "opening" {
					<-ctx.Done()
				}
				return &fake{}, device, ctx.Err()
			})
		}()
		l := newLink(fromProgram, toProgram)
		answers := make(chan answer, 100)
		go func() {
			for {
				var a answer
				if l.read(&a) != nil {
					return
				}
				if a.News == done {
					answers <- a
				}
			}
		}()
		if when != "before anything" {
			if err := l.write(call{ID: 1, Do: hello, Beat: time.Millisecond}); err != nil {
				t.Fatal(err)
			}
		}
		if when == "idle" || when == "computing" {
			if a := <-answers; a.Failed != nil {
				t.Errorf("%+v", a)
			}
		}
		if when == "computing" {
			j, raw, err := pack(ask("wait"))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.write(call{ID: 2, Do: generate, Job: j}, raw...); err != nil {
				t.Fatal(err)
			}
		}
		if err := toProgram.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("%s: %v", when, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s: the program goes on without its server", when)
		}
		_ = out.Close()
	}
}

// Steps come with their numbers, in order, and before the result; previews come between them.
func TestSteps(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	j := ask("steps")
	j.Request.Steps = 20
	var got []sdxl.Progress
	over := false
	j.Request.Progress = func(at sdxl.Progress) {
		if over {
			t.Error("a step came after the result")
		}
		got = append(got, at)
	}
	var previews []int
	j.Request.Preview = &sdxl.Preview{Every: 7, Func: func(step int, images []*image.NRGBA) {
		if len(got) != step || len(images) != 2 || images[0].Rect != image.Rect(0, 0, step-1, 3) || images[1].Rect != image.Rect(0, 0, 2, step) {
			t.Errorf("after %d steps, a preview of step %d: %v", len(got), step, images)
		}
		previews = append(previews, step)
	}}
	if _, err := e.Generate(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	over = true
	if !slices.Equal(previews, []int{7, 14}) {
		t.Errorf("previews of steps %v", previews)
	}
	if len(got) != 20 {
		t.Fatalf("%d steps came, want 20", len(got))
	}
	for i, at := range got {
		if want := (sdxl.Progress{Step: i + 1, Steps: 20, Elapsed: time.Duration(i), Left: time.Hour}); at != want {
			t.Errorf("step %d: %+v, want %+v", i+1, at, want)
		}
	}
}
