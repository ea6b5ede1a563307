//go:build browser && !nodemo

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a tab of a browser without a window, with the page of a server.
type tab struct {
	t   *testing.T
	ctx context.Context

	origin string // that no request may leave

	mu       sync.Mutex
	problems []string
	expected []string // texts of problems that the test makes on purpose
}

// newBrowser starts Chromium, which the end of the test ends.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	// Without its sandbox it runs as root in a container; it sees the test's own server alone. Tabs behind others are not
	// to be slowed down.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1280, 900))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// open opens a page in a tab of its own, and waits until all is shown that there is.
func open(t *testing.T, browser context.Context, address string) *tab {
	t.Helper()
	b := visit(t, browser, address)
	b.ready()
	return b
}

// visit opens a page in a tab of its own, where problems with some texts are expected.
func visit(t *testing.T, browser context.Context, address string, expected ...string) *tab {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	b := &tab{t: t, origin: u.Scheme + "://" + u.Host + "/", expected: expected}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewWindow(true))
	t.Cleanup(cancel)
	b.ctx = ctx
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	if err == nil {
		err = chromedp.Do(ctx, chromedp.Navigate(address))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Errorf("%s: %s", address, p)
		}
	})
	return b
}

// ready waits until the page shows all that there is.
func (b *tab) ready() {
	b.t.Helper()
	b.until(`document.documentElement.dataset.ready === 'true'`)
}

// listen notes errors of the page, and requests to elsewhere.
func (b *tab) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			problem += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			problem = fmt.Sprintf("console: %v", e.Args)
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			problem = "log: " + e.Entry.Text + " " + e.Entry.URL
		}
	case *network.EventRequestWillBeSent:
		u := e.Request.URL
		if !strings.HasPrefix(u, b.origin) && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "blob:") {
			problem = "a request leaves the origin: " + u
		}
	}
	if problem == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range b.expected {
		if strings.Contains(problem, text) {
			return
		}
	}
	b.problems = append(b.problems, problem)
}

// expect lets problems with a text pass.
func (b *tab) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, text)
}

// patience is for what a page that is busy with other tests may take.
const patience = 2 * time.Minute

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// run evaluates a script, and waits for its promise.
func (b *tab) run(script string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script, chromedp.EvalAwaitPromise))
}

// value gives what an expression is.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for a condition of the page.
func (b *tab) until(condition string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if value[bool](b, "Boolean("+condition+")") {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("never: %s\nthe page: %s", condition, value[string](b, "document.body.innerText"))
		}
	}
}

// fill puts text into an input, as a person who types does.
func (b *tab) fill(id, text string) {
	b.t.Helper()
	b.run(fmt.Sprintf(`(() => { const e = document.getElementById(%q); e.focus(); e.value = %q; e.dispatchEvent(new Event('input', { bubbles: true })); })()`, id, text))
}

// click clicks on what a selector finds, once it stays where it is: an image that is loaded above moves it.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.do(chromedp.ScrollIntoView(chromedp.CSS(selector)))
	b.run(fmt.Sprintf(`(async () => {
		const place = () => JSON.stringify(document.querySelector(%q)?.getBoundingClientRect());
		for (let before = ''; before !== place();) {
			before = place();
			await new Promise((done) => setTimeout(done, 50));
		}
	})()`, selector))
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// view opens the viewer with the image of the history that a selector finds. A click is lost where the history is drawn
// anew under it, as when a job has just ended.
func (b *tab) view(selector string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(() => {
		const viewer = document.getElementById('viewer');
		if (!viewer.open) document.querySelector(%q)?.click();
		return viewer.open;
	})()`, selector))
}

// press clicks on the button with a text, of those that a selector finds.
func (b *tab) press(selector, text string) {
	b.t.Helper()
	b.run(fmt.Sprintf(`(() => {
		const found = [...document.querySelectorAll(%q)].filter((e) => e.textContent.includes(%q));
		if (found.length !== 1) throw new Error(found.length + ' buttons');
		found[0].focus();
		found[0].click();
	})()`, selector, text))
}

// small fills the form for an image that takes a second.
func (b *tab) small(prompt string, steps int) {
	b.t.Helper()
	b.fill("prompt", prompt)
	b.fill("width", "128")
	b.fill("height", "128")
	b.fill("steps", fmt.Sprint(steps))
}

// shown are the ids of the images in the history, the newest first.
func (b *tab) shown() []string {
	b.t.Helper()
	return value[[]string](b, `[...document.querySelectorAll('#tiles [data-image]')].map((e) => e.dataset.image)`)
}

// listed asks the server for its jobs.
func listed(t *testing.T, address, query string) (jobs []jobState) {
	t.Helper()
	var answer struct{ Jobs []jobState }
	text := get(t, address+"/v1/jobs?"+query)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return answer.Jobs
}
