package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/process"
)

var cardModel = flag.String("card.model", "synth:tiny", "the model of the tests on a card")

// watchEngine, in the environment, makes an engine's process tell of its memory, and fault when it is asked to.
const watchEngine = "GOXL_TEST_WATCH"

// runWatched is runEngine so.
func runWatched(args []string) int {
	fs := flag.NewFlagSet("watched engine", flag.ExitOnError)
	var m models
	m.register(fs)
	_ = fs.Parse(args) // exits
	device, precision, err := m.device.Open(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "device:", err)
		return 1
	}
	err = process.Serve(func(ctx context.Context) (engine.Engine, kernels.Info, error) {
		e, err := m.open(ctx, device, precision, slog.New(slog.DiscardHandler))
		return watchedModel{e, device}, device.Info(), err
	})
	if err := errors.Join(err, device.Close()); err != nil {
		fmt.Fprintln(os.Stderr, "served:", err)
		return 1
	}
	return 0
}

type watchedModel struct {
	*engine.Several
	device kernels.Device
}

func (w watchedModel) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	if j.Request.Prompt == "fault" {
		return nil, w.device.(interface{ Fault(context.Context) error }).Fault(ctx)
	}
	result, err := w.Several.Generate(ctx, j)
	memory, merr := w.device.Memory()
	status, _ := os.ReadFile("/proc/self/status")
	resident := regexp.MustCompile(`VmRSS:\s+(\d+)`).FindSubmatch(status)
	fmt.Fprintf(os.Stderr, "MEMORY used %d peak %d limit %d resident %s KiB error %v\n", memory.Used, memory.Peak, memory.Limit, resident[1], errors.Join(err, merr))
	return result, err
}

// firstCard is the name of the machine's first card.
func firstCard(t *testing.T) string {
	t.Helper()
	m := models{}
	m.device.Device, m.device.Precision = "cuda", "auto"
	cards, err := m.device.Cards(nil)
	if err != nil {
		require.Lacks(t, "cuda", err)
	}
	t.Logf("%s: %s", cards[0].Name, cards[0].Detail)
	return cards[0].Name
}

// onCard is a server whose engine is on the machine's first card.
func onCard(t *testing.T) *apart {
	t.Helper()
	name := firstCard(t)
	t.Setenv(watchEngine, "1")
	return newApart(t, *cardModel, "", name)
}

// An engine on a card that is stopped or killed.
func TestCardStopped(t *testing.T) { stopEngines(t, *cardModel, firstCard(t)) }

// A kernel that faults at each of its attempts costs its request, and no other: those that wait are computed by the next
// process, which computes what the first computed.
func TestCardFault(t *testing.T) {
	a := onCard(t)
	_, before := a.image(t, "/generate", small)
	var all sync.WaitGroup
	answers := make([]string, 4)
	for i, prompt := range []string{"a", "fault", "b", "c"} {
		all.Go(func() {
			code, answer := a.do("POST", "/generate", fmt.Sprintf(`{"prompt":%q,"width":64,"height":64,"num_inference_steps":20}`, prompt))
			answers[i] = strconv.Itoa(code) + " " + answer
		})
		time.Sleep(5 * time.Millisecond) // in this order
	}
	all.Wait()
	for i, want := range []string{`200 {"id":`, `500 {"detail":"The device failed while it computed this image; it is being opened again"}`, `200 {"id":`, `200 {"id":`} {
		if !strings.HasPrefix(answers[i], want) {
			t.Errorf("request %d: %s, want %s", i, answers[i], want)
		}
	}
	if _, after := a.image(t, "/generate", small); after != before {
		t.Error("the next process computes another image")
	}
	t.Logf("log:\n%s", a.log)
	if log := a.log.String(); !strings.Contains(log, "CUDA_ERROR_LAUNCH_FAILED (719)") || strings.Count(log, "model loaded") != 4 {
		t.Error("the log does not tell of the faults and of the loads after them")
	}
}

var memoryLine = regexp.MustCompile(`MEMORY used (\d+) peak (\d+) limit \d+ resident (\d+) KiB error (.*)`)

// Fifty requests of several sizes, one of which is cancelled: every image comes, the same request gives the same image, and once each size was
// there, memory does not grow.
func TestCardMemory(t *testing.T) {
	a := onCard(t)
	sizes := []int{256, 128, 192, 320}
	made := map[int]string{}
	began := time.Now()
	for i := range 50 {
		side := sizes[i%len(sizes)]
		body := fmt.Sprintf(`{"prompt":"a red apple","width":%d,"height":%d,"num_inference_steps":10,"seed":5}`, side, side)
		if i == 25 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			code, answer := a.doContext(ctx, "POST", "/generate", `{"prompt":"a","width":1024,"height":1024,"num_inference_steps":200}`)
			if code != 499 {
				t.Errorf("a client that hung up: %d %s", code, answer)
			}
			continue
		}
		if _, png := a.image(t, "/generate", body); made[side] == "" {
			made[side] = png
		} else if png != made[side] {
			t.Errorf("request %d gives another image", i)
		}
	}
	t.Logf("50 requests in %v", time.Since(began))
	var used, resident []int
	for _, m := range memoryLine.FindAllStringSubmatch(a.log.String(), -1) {
		u, _ := strconv.Atoi(m[1])
		r, _ := strconv.Atoi(m[3])
		used, resident = append(used, u), append(resident, r)
	}
	t.Logf("bytes of the card in use after each: %v\nKiB resident: %v", used, resident)
	if len(used) != 50 {
		t.Fatalf("%d lines of memory, want 50:\n%s", len(used), a.log)
	}
	before := slices.Max(used[12:25])
	for i := 34; i < 50; i++ { // each size has been there twice, and again after the cancelled one
		if used[i] > before {
			t.Errorf("request %d: %d bytes in use, at most %d before one was cancelled", i, used[i], before)
		}
	}
	if grown := resident[49] - resident[29]; grown > 64<<10 {
		t.Errorf("resident memory grew by %d KiB in the last 20 requests", grown)
	}
}
