package hub

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestCuts cuts connections after random numbers of bytes, at times none, and kills the download in between: each byte
// comes once, and the file is whole.
func TestCuts(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	big := random(300_000, 5)
	s := newServer(t, map[string][]byte{"big.safetensors": big})
	sent := 0
	s.content = func(w http.ResponseWriter, r *http.Request, data []byte) []byte {
		s.mu.Lock()
		n := rng.IntN(40_000)
		if rng.IntN(3) == 0 {
			n = 0
		}
		sent += n
		s.mu.Unlock()
		cut(w, r, data, n)
		return nil
	}
	c, n := s.client(), parsed(t, testRepo+"/big.safetensors")
	var err error
	for range 100 { // a run of cuts without a byte ends one download
		if _, err = c.Pull(t.Context(), n, half); err == nil {
			break
		}
		if !errors.Is(err, ErrServer) || !strings.Contains(err.Error(), "bytes are kept") {
			t.Fatal(err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	path, err := c.Find(n)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, big) {
		t.Fatalf("%v, or another content", err)
	}
	if sent > len(big)+40_000 {
		t.Errorf("%d bytes were sent of %d", sent, len(big))
	}
	noPartials(t, c)
}

// TestBadAnswers: servers that send too little, too much, know no ranges, or send others than asked for, at first or
// always.
func TestBadAnswers(t *testing.T) {
	good := random(50_000, 6)
	for name, test := range map[string]struct {
		content func(n int, w http.ResponseWriter, r *http.Request, data []byte) []byte // of the nth request
		partial []byte                                                                  // what an earlier try left
		want    error
	}{
		"a short body, then a good one": {func(n int, w http.ResponseWriter, _ *http.Request, data []byte) []byte {
			if n == 0 {
				w.Header().Set("Content-Length", "100")
				_, _ = w.Write(data[:100])
				return nil
			}
			return data
		}, nil, nil},
		"short bodies always": {func(_ int, w http.ResponseWriter, _ *http.Request, data []byte) []byte {
			_, _ = w.Write(data[:100]) // as if there were no range
			return nil
		}, nil, ErrServer},
		"a longer body": {func(_ int, w http.ResponseWriter, _ *http.Request, data []byte) []byte {
			_, _ = w.Write(append(bytes.Clone(data), "more"...))
			return nil
		}, nil, nil},
		"no ranges": {func(_ int, w http.ResponseWriter, r *http.Request, data []byte) []byte {
			_, _ = w.Write(data)
			return nil
		}, good[:20_000], nil},
		"another range": {func(n int, w http.ResponseWriter, r *http.Request, data []byte) []byte {
			if r.Header.Get("Range") != "" {
				r.Header.Set("Range", "bytes=7-")
			}
			return data
		}, good[:20_000], nil},
		"416 of a whole file":    {nil, good, nil},
		"416 of a longer file":   {nil, append(bytes.Clone(good), 1, 2, 3), nil},
		"a partial of another":   {nil, random(20_000, 7), nil},
		"a whole one of another": {nil, random(50_000, 7), nil},
		"416 always": {func(_ int, w http.ResponseWriter, r *http.Request, _ []byte) []byte {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return nil
		}, good[:20_000], ErrServer},
		"wrong bytes": {func(_ int, _ http.ResponseWriter, _ *http.Request, data []byte) []byte {
			data = bytes.Clone(data)
			data[1234]++
			return data
		}, nil, ErrCorrupt},
		"503 twice": {func(n int, w http.ResponseWriter, _ *http.Request, data []byte) []byte {
			if n < 2 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return nil
			}
			return data
		}, nil, nil},
		"404": {func(_ int, w http.ResponseWriter, _ *http.Request, data []byte) []byte {
			w.WriteHeader(http.StatusNotFound)
			return nil
		}, nil, ErrNotFound},
		"a stalled connection": {func(n int, w http.ResponseWriter, r *http.Request, data []byte) []byte {
			if n == 0 {
				_, _ = w.Write(data[:1000])
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(10 * time.Second):
				}
				panic(http.ErrAbortHandler)
			}
			return data
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, map[string][]byte{"good.safetensors": good, "other.safetensors": random(100, 8)})
			c := s.client()
			c.Stall = 300 * time.Millisecond
			if _, err := c.Pull(t.Context(), parsed(t, testRepo+"/other.safetensors"), half); err != nil {
				t.Fatal(err)
			}
			n := -1
			if test.content != nil {
				s.content = func(w http.ResponseWriter, r *http.Request, data []byte) []byte {
					n++
					return test.content(n, w, r, data)
				}
			}
			name := parsed(t, testRepo+"/good.safetensors")
			blob := c.repo(name).blob(s.hash("good.safetensors"))
			if test.partial != nil {
				if err := os.WriteFile(blob+incomplete, test.partial, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			path, err := c.Pull(t.Context(), name, half)
			if !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			if test.want != nil {
				t.Log(err)
				if _, err := os.Stat(blob); err == nil {
					t.Error("a blob that is not the file's")
				}
				if !strings.Contains(err.Error(), "good.safetensors") {
					t.Errorf("%v does not name the file", err)
				}
				if _, err := c.Find(name); !errors.Is(err, ErrNotCached) {
					t.Errorf("Find: %v", err)
				}
			} else if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, good) {
				t.Fatalf("%v, or another content", err)
			} else {
				noPartials(t, c)
			}
			if _, err := c.Find(parsed(t, testRepo+"/other.safetensors")); err != nil {
				t.Errorf("what was there is lost: %v", err)
			}
		})
	}
}
