package server

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// slowFile is an image that is written once it may be.
type slowFile struct {
	worker.Pending
	ready <-chan struct{}
}

func (s slowFile) Commit(data []byte) error {
	<-s.ready
	return s.Pending.Commit(data)
}

// hold keeps images from being on disk until the function that it returns is called.
func hold(b *bench) (goOn func()) {
	ready := make(chan struct{})
	begin := b.store.begin
	b.store.begin = func(id string, t blob.Type, bytes int64) (worker.Pending, error) {
		f, err := begin(id, t, bytes)
		return slowFile{f, ready}, err
	}
	return sync.OnceFunc(func() { close(ready) })
}

// The device computes the next image while the ones before it are written, and as many wait for the disk as have room.
func TestEncodesBesideTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		b.base.run = func(context.Context, sdxl.Request) error { time.Sleep(time.Second); return nil }
		goOn := hold(b)
		began := time.Now()
		var answers []<-chan *httptest.ResponseRecorder
		for range 5 {
			answers = append(answers, b.start(t.Context(), "/generate", plain))
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		// As many as have room are on their way to the disk; the next waits with the device until one of them is there.
		if n := b.base.calls.Load(); n != worker.ImagesPerDevice || b.base.inside.Load() != 0 {
			t.Errorf("%d images were computed, want %d", n, worker.ImagesPerDevice)
		}
		for _, a := range answers {
			if len(a) > 0 {
				t.Error("a request was answered before its image was on disk")
			}
		}
		goOn()
		for _, a := range answers {
			id(t, <-a)
		}
		if took := time.Since(began); took != 12*time.Second {
			t.Errorf("all took %v, want 12s", took)
		}
		if b.base.most.Load() != 1 {
			t.Errorf("%d computed at once", b.base.most.Load())
		}
		log := b.log.String()
		for _, want := range []string{"compute=1s encode=9s", "wait=1s compute=1s encode=8s", "wait=2s compute=1s encode=7s"} { // of the first three
			if !strings.Contains(log, want) {
				t.Errorf("%q is not in the log:\n%s", want, log)
			}
		}
	})
}

// The next image is computed as soon as the device has done its part, while the engine is not done with the one before.
func TestFreeOnceComputed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		b.base.run = func(_ context.Context, r sdxl.Request) error {
			time.Sleep(time.Second)
			r.OnComputed()
			time.Sleep(900 * time.Millisecond) // the host's part, and the way of the pixels
			return nil
		}
		began := time.Now()
		var answers []<-chan *httptest.ResponseRecorder
		for range 5 {
			answers = append(answers, b.start(t.Context(), "/generate", plain))
			synctest.Wait()
		}
		for _, a := range answers {
			id(t, <-a)
		}
		if took := time.Since(began); took != 5900*time.Millisecond || b.base.most.Load() != 2 {
			t.Errorf("all took %v with %d at once, want 5.9s with 2", took, b.base.most.Load())
		}
		if n := b.queue.Stats().Idle; n != 1 {
			t.Errorf("%d devices are free, want 1", n)
		}
	})
}

// A device that is lost on the host's part of an image is opened again, and the image computed anew.
func TestLostOnceComputed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, func(_, load int, e *fakeEngine) func(context.Context, sdxl.Request) error {
			return func(_ context.Context, r sdxl.Request) error {
				r.OnComputed()
				if load > 0 {
					return nil
				}
				e.lost.Store(&errFault)
				return errFault
			}
		})
		b := loadedBench(t, change)
		for range worker.ImagesPerDevice + 1 { // none would be left
			id(t, <-b.start(t.Context(), "/generate", plain))
		}
		if n := b.imageCount(t); n != worker.ImagesPerDevice+1 || len(f.loads(0)) != 2 {
			t.Errorf("%d files, %d loads", n, len(f.loads(0)))
		}
	})
}

// Clients that don't take their answers keep no room: the next images are computed and answered.
func TestAnswersHoldNoEncoder(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		long := fmt.Sprintf(`{"prompt":"%s","seed":1}`, strings.Repeat("x", 10000)) // more than net/http buffers
		for range worker.ImagesPerDevice + 1 {
			send(t, l.dial(t), post("/generate", long))
		}
		synctest.Wait()
		if n := r.imageCount(t); n != worker.ImagesPerDevice+1 {
			t.Errorf("%d images on disk, want %d", n, worker.ImagesPerDevice+1)
		}
		began, client := time.Now(), l.dial(t)
		send(t, client, post("/generate", plain))
		if resp, body := answer(t, bufio.NewReader(client)); resp.StatusCode != 200 || time.Since(began) != 0 {
			t.Errorf("%d %s after %v", resp.StatusCode, body, time.Since(began))
		}
	})
}

// A client that hangs up while its image has no room yet gives the device back.
func TestGoneBeforeEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		goOn := hold(b)
		var answers []<-chan *httptest.ResponseRecorder
		for range worker.ImagesPerDevice {
			answers = append(answers, b.start(t.Context(), "/generate", plain))
			synctest.Wait()
		}
		ctx, hangUp := context.WithCancel(t.Context())
		gone := b.start(ctx, "/generate", plain)
		synctest.Wait()
		hangUp()
		if w := <-gone; w.Code != 499 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		synctest.Wait()
		if b.queue.Stats().Idle != 1 {
			t.Error("the device is not free")
		}
		goOn()
		for _, a := range answers {
			id(t, <-a)
		}
		if n := b.imageCount(t); n != worker.ImagesPerDevice {
			t.Errorf("%d images on disk, want %d", n, worker.ImagesPerDevice)
		}
	})
}

// A device that is lost after an image was computed costs that image nothing.
func TestLostWhileEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, faulty)
		b := loadedBench(t, change)
		goOn := hold(b)
		first := b.start(t.Context(), "/generate", plain)
		time.Sleep(2 * time.Second)
		if w := b.do("POST", "/generate", `{"prompt":"fault"}`); w.Code != 500 {
			t.Errorf("the request that was computed: %d %s", w.Code, w.Body)
		}
		synctest.Wait()
		goOn()
		id(t, <-first)
		if engines := f.loads(0); len(engines) != 4 || !engines[0].closed.Load() { // the second request had three attempts
			t.Errorf("%d loads", len(engines))
		}
	})
}

// The end waits for images that are computed, and writes them.
func TestDrainWaitsForEncoders(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		goOn := hold(r.bench)
		client := l.dial(t)
		send(t, client, post("/generate", plain))
		synctest.Wait()
		r.end()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(r.ended) > 0 {
			t.Error("the server ended before the image was on disk")
		}
		goOn()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		r.ended <- nil
		if n := r.imageCount(t); n != 1 {
			t.Errorf("%d images on disk, want 1", n)
		}
	})
}

// An image that can't be written frees its room.
func TestEncoderFailures(t *testing.T) {
	b := loadedBench(t, nil)
	for _, late := range []bool{false, true} {
		mend := b.breakStore(&blob.Error{Kind: blob.ErrBroken, Reason: "broken"}, late)
		for range worker.ImagesPerDevice + 1 {
			if w := b.do("POST", "/generate", plain); w.Code != 503 {
				t.Errorf("late %v: %d %s", late, w.Code, w.Body)
			}
		}
		mend()
	}
	for range worker.ImagesPerDevice + 1 { // none would be left
		id(t, b.do("POST", "/generate", plain))
	}
}
