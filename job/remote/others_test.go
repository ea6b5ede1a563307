package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/worker"
)

// knows waits until an API knows the others, and has none to wait for that it does not know.
func (f *front) knows(others int) {
	f.t.Helper()
	waitFor(f.t, func() string { return "the API does not know the others" }, func() bool {
		f.api.mu.Lock()
		defer f.api.mu.Unlock()
		return len(f.api.others) == others && f.api.settled.IsZero()
	})
}

// Two APIs tell each other of their jobs. What none has is known once all have said so, and at once where there is no
// other API.
func TestFind(t *testing.T) {
	b := newBroker(t)
	one, two := newFront(t, b), newFront(t, b)
	id := one.submit(func(j *job.Job, _ *worker.Task) { j.Model = "none" })
	j, live, err := two.api.Find(t.Context(), id)
	if err != nil || j.ID != id || j.State != job.Queued || live.Position != 1 {
		t.Errorf("%+v, %+v, %v", j, live, err)
	}
	unknown := func(from *front, asked bool) {
		t.Helper()
		before := from.api.conn.nc.Stats().OutMsgs
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const times = 20
		for range times {
			if _, _, err := from.api.Find(ctx, "none"); !errors.Is(err, job.ErrUnknown) {
				t.Error(err)
			}
		}
		if n := from.api.conn.nc.Stats().OutMsgs - before; (n >= times) != asked {
			t.Errorf("%d messages, asked is %v", n, asked)
		}
	}
	one.knows(1)
	two.knows(1)
	began := time.Now()
	unknown(one, true)
	if took := time.Since(began); took > 10*findTimeout { // of 20
		t.Errorf("20 unknown jobs take %v: the API waits although all have answered", took)
	}
	two.stop()
	one.knows(0)
	unknown(one, false)
	two.start()
	one.knows(1)
}

// An image that lies at one API is read through another, any part of it.
func TestFindImage(t *testing.T) {
	b := newBroker(t)
	one, two, three := newFront(t, b), newFront(t, b), newFront(t, b)
	for _, f := range []*front{one, two, three} {
		f.knows(2)
	}
	data := make([]byte, 2*pieceBytes+12345)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	id := one.submit(func(j *job.Job, _ *worker.Task) { j.Owner = "anna" })
	p, err := one.images.Begin(id, blob.WebP, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(data); err != nil {
		t.Fatal(err)
	}
	l, err := one.queue.Take(t.Context(), job.Taker{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Done([]job.Blob{{ID: id, Type: string(blob.WebP)}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	i, err := two.api.FindImage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	file, _, err := one.images.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if i.Type != blob.WebP || i.Bytes != int64(len(data)) || !i.Modified.Equal(info.ModTime()) || i.Owner != "anna" || !i.Owned {
		t.Errorf("%+v", i)
	}
	if err := iotest.TestReader(i.Content, data); err != nil {
		t.Error(err)
	}
	if _, err := i.Content.Seek(-1, io.SeekStart); err == nil {
		t.Error("there is something before the image")
	}
	if _, err := two.api.FindImage(t.Context(), two.submit(nil)); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("an image that none has: %v", err)
	}
	if err := one.images.Remove(id); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Content.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.Copy(&got, i.Content); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("%d bytes of an image that was removed meanwhile, %v", got.Len(), err)
	}
}
