package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
)

// previewing makes an engine take steps of ten seconds each, with previews as asked for.
func previewing(steps int) func(context.Context, sdxl.Request) error {
	return func(ctx context.Context, r sdxl.Request) error {
		for i := range steps {
			select {
			case <-time.After(10 * time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			if r.Preview != nil && (i+1)%r.Preview.Every == 0 {
				img := image.NewNRGBA(image.Rect(0, 0, 8*(i+1), 8))
				for j := range img.Pix {
					img.Pix[j] = 255
				}
				r.Preview.Func(i+1, []*image.NRGBA{img})
			}
		}
		return nil
	}
}

// A stream has so many previews as were asked for, evenly over the steps, signs of life, and the image.
func TestOpenAIStream(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		r.base.run, r.refiner.run = previewing(8), previewing(4)
		id := decodeUpload(t, r.upload("image/png", tinyPNG(t)))
		for _, c := range []struct {
			path, body string
			names      []string
			widths     []int // of previews
		}{
			{"generations", `{"prompt":"a","stream":true,"num_inference_steps":8,"seed":7}`, []string{"image_generation.completed"}, nil},
			{"generations", `{"prompt":"a","stream":true,"num_inference_steps":8,"seed":7,"partial_images":1,"output_format":"webp"}`,
				[]string{"image_generation.partial_image", "image_generation.completed"}, []int{32}},
			{"generations", `{"prompt":"a","stream":"true","num_inference_steps":8,"seed":7,"partial_images":3,"response_format":"url","style":"natural"}`,
				[]string{"image_generation.partial_image", "image_generation.partial_image", "image_generation.partial_image", "image_generation.completed"}, []int{16, 32, 48}},
			{"edits", `{"prompt":"a","stream":true,"num_inference_steps":20,"seed":7,"partial_images":2,"strength":0.2,"images":[{"file_id":"` + id + `"}]}`,
				[]string{"image_edit.partial_image", "image_edit.partial_image", "image_edit.completed"}, []int{8, 16}},
		} {
			conn := l.dial(t)
			send(t, conn, post("/v1/images/"+c.path, c.body))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatalf("%s: %d %v", c.body, resp.StatusCode, resp.Header)
			}
			if want := ""; strings.Contains(c.body, "style") {
				if want = "style"; resp.Header.Get(ignoredHeader) != want {
					t.Errorf("%v", resp.Header)
				}
			}
			var names []string
			var widths []int
			for _, e := range (stream{bufio.NewReader(resp.Body), resp}).rest(t) {
				if e.name == "" {
					continue
				}
				names = append(names, e.name)
				last := strings.HasSuffix(e.name, "completed")
				data, n := checkOpenAIEvent(t, e, last)
				if n != len(widths) && !last {
					t.Errorf("the index is %d, want %d", n, len(widths))
				}
				if last {
					continue
				}
				img, err := jpeg.DecodeConfig(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				widths = append(widths, img.Width)
			}
			if diff := cmp.Diff(c.names, names) + cmp.Diff(c.widths, widths); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.body, diff)
			}
		}
	})
}

// checkOpenAIEvent compares the members of an event with OpenAI's, and gives its image and its index.
func checkOpenAIEvent(t *testing.T, e serverEvent, last bool) (data []byte, index int) {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(e.data), &members); err != nil {
		t.Fatalf("%s: %v", e.data, err)
	}
	text, _ := members["b64_json"].(string)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 || members["type"] != e.name {
		t.Errorf("%v: %s", err, e.data)
	}
	want := []string{"b64_json", "background", "created_at", "output_format", "quality", "size", "type"}
	if last {
		want = append(want, "id", "seed", "usage")
		for _, may := range []string{"url", "warnings"} {
			if members[may] != nil {
				want = append(want, may)
			}
		}
		if members["seed"] != 7. {
			t.Errorf("seed %v", members["seed"])
		}
	} else {
		want = append(want, "partial_image_index")
		if members["output_format"] != "jpeg" {
			t.Errorf("%v", members["output_format"])
		}
	}
	slices.Sort(want)
	got := make([]string, 0, len(members))
	for name := range members {
		got = append(got, name)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s has members (-want +got):\n%s", e.name, diff)
	}
	n, _ := members["partial_image_index"].(float64)
	return data, int(n)
}

// What goes wrong once a stream has begun is its last event; before that it is an answer.
func TestOpenAIStreamErrors(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		r.base.run = func(ctx context.Context, q sdxl.Request) error {
			return errors.Join(previewing(3)(ctx, q), &sdxl.RequestError{Field: "loras", Value: "x", Allowed: "one that fits"})
		}
		conn := l.dial(t)
		send(t, conn, post("/v1/images/generations", `{"prompt":"a","stream":true,"partial_images":1}`))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		list := (stream{bufio.NewReader(resp.Body), resp}).rest(t)
		last := list[len(list)-1]
		const want = `{"error":{"message":"loras: must be one that fits, got \"x\"","type":"invalid_request_error","param":"loras","code":"invalid_value"}}`
		if last.name != "error" || last.data != want {
			t.Errorf("%+v", last)
		}
		if w := r.do("POST", "/v1/images/generations", `{"prompt":"a","stream":true,"scheduler":"x"}`); w.Code != 400 || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	})
}

// A client that leaves its stream cancels the job, and one that waits long sees signs of life.
func TestOpenAIStreamGone(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		began, stopped := held(r.base)
		conn := l.dial(t)
		send(t, conn, post("/v1/images/generations", `{"prompt":"a","stream":true,"partial_images":3}`))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		<-began
		lines := bufio.NewReader(resp.Body)
		asked := time.Now()
		for range 4 {
			if line, err := lines.ReadString('\n'); err != nil || line != ":\n" && line != "\n" {
				t.Fatalf("%q, %v", line, err)
			}
		}
		if took := time.Since(asked); took != eventIdle {
			t.Errorf("a sign of life after %v, want %v", took, eventIdle)
		}
		conn.Close()
		<-stopped
		synctest.Wait()
		page, err := r.journal.List(job.Filter{Limit: 10})
		if err != nil || len(page.Jobs) != 1 || page.Jobs[0].State != job.Cancelled {
			t.Error(fmt.Sprint(page.Jobs, err))
		}
	})
}
