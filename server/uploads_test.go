package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"image"
	"image/jpeg"
	"image/png"
	"mime/multipart"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

// upload posts an image.
func (b *bench) upload(contentType string, body []byte, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/v1/images", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// An image comes as it was sent, by itself or in a form, and jobs can begin with it.
func TestUpload(t *testing.T) {
	b := loadedBench(t, nil)
	img := image.NewRGBA(image.Rect(0, 0, 96, 64))
	var asPNG, asJPEG, form bytes.Buffer
	if err := png.Encode(&asPNG, img); err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(&asJPEG, img, nil); err != nil {
		t.Fatal(err)
	}
	m := multipart.NewWriter(&form)
	field, err := m.CreateFormFile("image", "../../x.jpg")
	if err == nil {
		_, err = field.Write(asJPEG.Bytes())
	}
	if err != nil || m.Close() != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		contentType string
		body, file  []byte
		want        string
	}{
		{"image/png", asPNG.Bytes(), asPNG.Bytes(), "image/png"},
		{"image/jpeg", asJPEG.Bytes(), asJPEG.Bytes(), "image/jpeg"},
		{"image/webp", asJPEG.Bytes(), asJPEG.Bytes(), "image/jpeg"}, // what it is, not what it is called
		{m.FormDataContentType(), form.Bytes(), asJPEG.Bytes(), "image/jpeg"},
	} {
		w := b.upload(c.contentType, c.body)
		var v imageView
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 201 || v.Width != 96 || v.Height != 64 || v.Type != c.want {
			t.Errorf("%s: %d %s", c.contentType, w.Code, w.Body)
			continue
		}
		if got := b.do("GET", v.URL, ""); !bytes.Equal(got.Body.Bytes(), c.file) || got.Header().Get("Content-Type") != c.want {
			t.Errorf("%s: %d bytes, %v", c.contentType, got.Body.Len(), got.Header())
		}
		if got := b.finished(t, b.postJob(t, `{"prompt":"a","image":"`+v.ID+`"}`).ID); got.State != "done" || got.Images[0].Width != 96 {
			t.Errorf("%s: %+v", c.contentType, got)
		}
	}
	before := b.imageCount(t)
	for _, c := range []struct {
		contentType string
		body        string
		status      int
		header      []string
	}{
		{"image/png", "not an image", 422, nil},
		{"image/png", "", 422, nil},
		{"image/png", asPNG.String()[:asPNG.Len()-20], 422, nil},
		{"text/plain", asPNG.String(), 415, nil},
		{"", asPNG.String(), 415, nil},
		{"multipart/form-data; boundary=x", "--x--\r\n", 422, nil},
		{"multipart/form-data", "--x--\r\n", 400, nil},
		{m.FormDataContentType(), form.String()[:300], 400, nil},
		{m.FormDataContentType(), form.String(), 403, []string{"Sec-Fetch-Site", "cross-site"}},
		{m.FormDataContentType(), form.String(), 403, []string{"Origin", "http://evil.example"}},
	} {
		if w := b.upload(c.contentType, []byte(c.body), c.header...); w.Code != c.status || !strings.HasPrefix(w.Body.String(), `{"detail":`) {
			t.Errorf("%s %.20q: %d %s, want %d", c.contentType, c.body, w.Code, w.Body, c.status)
		}
	}
	if n := b.imageCount(t); n != before {
		t.Errorf("%d files, want %d", n, before)
	}
}

// An upload that is too large is refused while it arrives.
func TestUploadTooLarge(t *testing.T) {
	b := loadedBench(t, nil)
	if w := b.upload("image/png", make([]byte, maxUpload+1)); w.Code != 413 || w.Body.String() != `{"detail":"Request body is too large: must be at most 67108864 bytes"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Large bodies are in memory one beside the other up to a number, and what is small passes by.
func TestLargeBodies(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
		var held []net.Conn
		for range mostLarge {
			c := l.dial(t)
			send(t, c, "POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 2000000\r\n\r\nabc")
			held = append(held, c)
		}
		synctest.Wait()
		for _, length := range []string{"Content-Length: 2000000", "Transfer-Encoding: chunked"} {
			c := l.dial(t)
			send(t, c, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+length+"\r\n\r\n")
			if resp, body := answer(t, bufio.NewReader(c)); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
				t.Errorf("%s: %d %s", length, resp.StatusCode, body)
			}
		}
		r.finished(t, r.postJob(t, plain).ID)
		held[0].Close()
		synctest.Wait()
		c := l.dial(t)
		send(t, c, "POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 2000000\r\n\r\n")
		go func() { // the pipe has no room for it
			_, _ = c.Write(make([]byte, 2000000))
		}()
		if resp, body := answer(t, bufio.NewReader(c)); resp.StatusCode != 422 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
}
