//go:build browser && !nodemo

package main

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/engine"
)

// plain is an engine that computes images of one colour.
type plain struct{}

func (plain) Generate(_ context.Context, j engine.Job) (*sdxl.Result, error) {
	p := j.Parameters
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := range p.Width * p.Height {
		img.SetNRGBA(i%p.Width, i/p.Width, color.NRGBA{uint8(p.Seed), uint8(3 * p.Seed), 128, 255})
	}
	return &sdxl.Result{Images: []*image.NRGBA{img}, Parameters: p, Steps: p.Steps}, nil
}

func (plain) Costs() engine.Costs { return engine.Costs{} }
func (plain) DeviceName() string  { return "" }
func (plain) Lost() error         { return nil }
func (plain) Close() error        { return nil }

// serveColours runs a server of such an engine until the test ends.
func serveColours(t *testing.T) (address string) {
	t.Helper()
	base, err := cli.ReadSpec("synth:tiny", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	s, err := server.New(server.Config{
		Specs: engine.Specs{Base: base}, Load: func(int) (engine.Engine, error) { return plain{}, nil }, Schedulers: scheduler.Names(),
		Images: folder, Journal: filepath.Join(folder, "jobs.db"), Queue: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// A history of 500 jobs comes page by page as the reader scrolls, in the server's order, and the arrows go through it.
func TestBrowserHistory(t *testing.T) {
	address := serveColours(t)
	const n = 500
	var ids []string
	for i := range n {
		body := fmt.Sprintf(`{"prompt":"image %d","width":64,"height":64,"num_inference_steps":1,"seed":%d}`, i, i)
		ids = append(ids, ask(t, "POST", address+"/v1/jobs", body, 202).ID)
	}
	for _, id := range ids {
		until(t, address+"/v1/jobs/"+id, func(j jobState) bool { return j.State == "done" })
	}
	slices.Reverse(ids)

	b := open(t, newBrowser(t), address)
	if got := len(b.shown()); got < 50 || got >= n {
		t.Errorf("at first %d images are shown, want a page or two", got)
	}
	b.do(chromedp.EmulateViewport(1600, 2400)) // so high that the end is in view after a page
	few := len(b.shown())
	b.do(chromedp.Reload())
	b.ready()
	b.until(fmt.Sprintf("document.querySelectorAll('#tiles [data-image]').length > %d", few))
	b.do(chromedp.EmulateViewport(1280, 900))
	for len(b.shown()) < n {
		before := len(b.shown())
		b.run("document.getElementById('more').scrollIntoView()")
		b.until(fmt.Sprintf("document.querySelectorAll('#tiles [data-image]').length > %d", before))
	}
	if got := value[[]string](b, "[...document.querySelectorAll('#tiles [data-job]')].map((e) => e.dataset.job)"); !slices.Equal(got, ids) {
		t.Errorf("%d jobs in another order than the server's", len(got))
	}
	b.run("document.getElementById('more').scrollIntoView()")
	b.until(`[...document.querySelectorAll('#tiles li:last-child img')].every((e) => e.naturalWidth === 64 && e.currentSrc.endsWith('/thumbnail?size=384'))`)

	// The viewer: the oldest, the one before it by an arrow, closed by Escape, which gives the focus back.
	prompt := "document.querySelector('#viewer .words')?.textContent"
	b.click("#tiles li:last-child button")
	b.until(prompt + " === 'image 0'")
	b.do(chromedp.KeyEvent(kb.ArrowRight)) // there is none
	b.do(chromedp.KeyEvent(kb.ArrowLeft))
	b.until(prompt + " === 'image 1'")
	b.do(chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowRight))
	b.until(prompt + " === 'image 1'")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(`!document.getElementById('viewer').open && document.activeElement.title.startsWith('image 1\n')`)

	// The slash goes to the prompt, and is not typed.
	if value[bool](b, `document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: '/', bubbles: true, cancelable: true }))`) {
		t.Error("the slash is typed")
	}
	b.until(`document.activeElement.id === 'prompt'`)

	// A new image comes to the front of what is shown, which stays.
	b.fill("prompt", "the newest")
	b.fill("width", "64")
	b.fill("height", "64")
	b.click("#generate")
	b.until(fmt.Sprintf("document.querySelectorAll('#tiles [data-image]').length === %d", n+1))
	if alt := value[string](b, "document.querySelector('#tiles img').alt"); alt != "the newest" {
		t.Errorf("the first image is %q", alt)
	}
}
