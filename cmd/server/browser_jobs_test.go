//go:build browser && !nodemo

package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
)

// A job is cancelled while it is computed, and one that waits.
func TestBrowserCancel(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	b := open(t, newBrowser(t), address)
	b.small("the first", 200)
	b.click("#generate")
	b.until(`/^Step [1-9]/.test(document.querySelector('.working .status')?.textContent)`)
	b.fill("prompt", "the second")
	b.click("#generate")
	b.until(`document.querySelectorAll('#queue li').length === 1`)
	b.press("#queue button", "Cancel")
	b.until(`document.querySelectorAll('#queue li').length === 0`)
	b.click(".working .cancel")
	b.until(`!document.querySelector('.working')`)
	var states []string
	for _, j := range listed(t, address, "") {
		states = append(states, j.State)
	}
	if !slices.Equal(states, []string{"cancelled", "cancelled"}) {
		t.Errorf("the jobs are %q", states)
	}
	if shown := b.shown(); len(shown) != 0 {
		t.Errorf("the history shows %q", shown)
	}
	b.run(`(() => { const e = document.getElementById('show'); e.value = 'all'; e.dispatchEvent(new Event('change')); })()`)
	b.until(`document.querySelectorAll('#tiles .note-tile').length === 2`)
}

// A job that is stopped has the image so far.
func TestBrowserInterrupt(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	b := open(t, newBrowser(t), address)
	b.small("a red apple", 200)
	b.fill("width", "256")
	b.click("#generate")
	b.until(`/^Step [2-9]/.test(document.querySelector('.working .status')?.textContent)`)
	b.click(".working .interrupt")
	b.until(`document.querySelector('.ended.done img')?.complete`)
	job := jobOf(t, address, value[string](b, "document.querySelector('.ended').dataset.job"))
	if p := job.Parameters; job.State != "done" || p.Interrupted == nil || p.Interrupted.Steps != 200 || p.Interrupted.StepsDone >= 200 || p.Interrupted.StepsDone < 2 {
		t.Errorf("%+v", job)
	}
	if text := value[string](b, `document.querySelector('.ended .status').textContent`); !strings.HasPrefix(text, "Stopped early, in ") {
		t.Errorf("the page says %q", text)
	}
	b.press(".ended button", "Reuse")
	if steps := value[string](b, "document.getElementById('steps').value"); steps != "200" {
		t.Errorf("used again it has %s steps", steps)
	}
}

// A page that is loaded again in the middle of a job goes on showing it, up to its end.
func TestBrowserReload(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	b := open(t, newBrowser(t), address)
	b.small("a red apple", 200)
	b.fill("width", "256")
	b.click("#generate")
	b.until(`/^Step [1-9]/.test(document.querySelector('.working .status')?.textContent)`)
	job := value[string](b, "document.querySelector('.working').dataset.job")
	b.do(chromedp.Reload())
	b.ready()
	b.until(`document.querySelector('.working')?.dataset.job === '` + job + `' && /^Step [1-9]/.test(document.querySelector('.working .status').textContent)`)
	b.until(`document.querySelector('.ended.done')?.dataset.job === '` + job + `'`)
	b.until(`document.querySelectorAll('#tiles [data-image]').length === 1`)
	if prompt := value[string](b, "document.getElementById('prompt').value"); prompt != "a red apple" {
		t.Errorf("the form has %q", prompt)
	}
}

// Two tabs show the same jobs and the same history, and what is deleted in one is gone in the other.
func TestBrowserTabs(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	browser := newBrowser(t)
	one, two := open(t, browser, address), open(t, browser, address)
	one.small("a red apple", 30)
	one.click("#generate")
	one.until(`document.querySelector('.working')`)
	job := value[string](one, "document.querySelector('.working').dataset.job")
	two.until(`document.querySelector('.working')?.dataset.job === '` + job + `'`)
	for _, b := range []*tab{one, two} {
		b.until(`document.querySelectorAll('#tiles [data-job="` + job + `"]').length === 1`)
	}
	two.press(".ended button", "Delete")
	two.press(".ended button", "Really delete?")
	for _, b := range []*tab{two, one} {
		b.until(`!document.querySelector('[data-job="` + job + `"]')`)
	}

	// What another program asks for is shown too.
	other := ask(t, "POST", address+"/v1/jobs", `{"prompt":"of another program","width":64,"height":64,"num_inference_steps":2}`, 202).ID
	one.until(`document.querySelector('#tiles [data-job="` + other + `"]')`)
}

// While the server is away the page says so; the job that was computed goes on when it is back, and what was sent
// meanwhile arrives, once.
func TestBrowserRestart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	args := []string{"-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu", "-addr", address}
	first, base := spawn(t, args...)
	b := open(t, newBrowser(t), base)
	for _, text := range []string{"ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE"} {
		b.expect(text)
	}
	b.small("a red apple", 150)
	b.click("#generate")
	b.until(`/^Step [1-9]/.test(document.querySelector('.working .status')?.textContent)`)
	job := value[string](b, "document.querySelector('.working').dataset.job")
	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	b.until(`document.getElementById('connection').textContent === 'Reconnecting'`)
	b.small("a green pear", 4)
	b.click("#generate")
	b.until(`document.getElementById('notes').textContent.includes('The job is sent as soon as it does')`)

	spawn(t, args...)
	b.until(`document.getElementById('connection').textContent === ''`)
	b.until(`document.querySelectorAll('#tiles [data-image]').length === 2`)
	jobs := listed(t, base, "")
	if len(jobs) != 2 || jobs[1].ID != job || jobs[1].State != "done" || jobs[1].Attempts != 2 || jobs[0].State != "done" {
		t.Errorf("the jobs are %+v, want %s in two attempts and another", jobs, job)
	}
}

// Below a path, as behind a proxy, all works as at the root.
func TestBrowserSubPath(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	routes := http.NewServeMux()
	routes.Handle("/some/path/", http.StripPrefix("/some/path", proxy))
	routes.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/favicon.ico" {
			t.Errorf("%s is outside of the path", r.URL)
		}
	})
	front := httptest.NewServer(routes)
	t.Cleanup(front.Close)
	b := open(t, newBrowser(t), front.URL+"/some/path/")
	t.Cleanup(front.CloseClientConnections) // events go on as long as the page is open
	b.small("a red apple", 20)
	b.click("#generate")
	b.until(`document.querySelector('.ended.done img')?.naturalWidth === 128`)
	b.until(`document.querySelector('#tiles img')?.naturalWidth === 128`)
	if src := value[string](b, "document.querySelector('#tiles img').src"); !strings.HasPrefix(src, front.URL+"/some/path/download/") {
		t.Errorf("the image is %s", src)
	}
}
