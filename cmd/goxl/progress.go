package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/goxl/goxl/models/sdxl"
)

// progress shows how far a run is: a bar on a terminal, elsewhere a line a second.
type progress struct {
	w    io.Writer
	bar  *progressbar.ProgressBar // nil where there is no terminal
	last time.Time                // of the last line
	now  func() time.Time
}

// newProgress shows at most steps steps on w. A bar appears at once: on a slow machine the first step takes a while.
func newProgress(w io.Writer, terminal bool, steps int) *progress {
	p := &progress{w: w, now: time.Now}
	p.last = p.now()
	if terminal {
		p.bar = progressbar.NewOptions(steps,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetDescription("preparing"),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetWidth(40),
			progressbar.OptionSetRenderBlankState(true),
		)
	}
	return p
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(file)
	return ok && term.IsTerminal(int(f.Fd()))
}

// step is a sdxl.Request's Progress.
func (p *progress) step(s sdxl.Progress) {
	text := fmt.Sprintf("step %d/%d, %v left", s.Step, s.Steps, seconds(s.Left))
	if s.Step == s.Steps {
		p.stop()
		fmt.Fprintf(p.w, "step %d/%d, %v in all; decoding\n", s.Step, s.Steps, seconds(s.Elapsed))
		return
	}
	if p.bar != nil {
		if p.bar.GetMax() != s.Steps {
			p.bar.ChangeMax(s.Steps)
		}
		p.bar.Describe(text)
		_ = p.bar.Set(s.Step) // a lost terminal is no reason to lose the image
		return
	}
	if now := p.now(); now.Sub(p.last) >= time.Second {
		p.last = now
		fmt.Fprintln(p.w, text)
	}
}

// stop takes the bar off the screen. It may be called again.
func (p *progress) stop() {
	if p.bar != nil {
		_ = p.bar.Clear() // as above
		p.bar = nil
	}
}

// seconds rounds a time for people.
func seconds(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
