package process

import (
	"fmt"
	"time"
)

const (
	defaultStall   = 2 * time.Minute
	defaultSilence = 15 * time.Second
	beats          = 15 // signs of life that a program has to miss

	// loadTime is what opening a model may take, and what its first computation may take longer than others: weights
	// are read from a disk or network that may be slow, packed, and programs compiled.
	loadTime = 15 * time.Minute

	// startTime is what a program may take until its first sign of life, which it gives before it opens a model: an
	// executable may come from a slow disk too.
	startTime = 2 * time.Minute
)

// patience is how long a call may go on without a step before the program is killed.
type patience struct {
	first time.Duration // added until there is the first step
	step  time.Duration
}

func (p patience) now() time.Duration { return p.first + p.step }

// watch kills a program that is stopped or hangs. It counts beats that this process lived through, so that one that was
// stopped itself does not take that for the program's silence.
func (p *peer) watch() {
	t := time.NewTicker(p.beat)
	defer t.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-t.C:
			if why := p.overdue(); why != nil {
				p.kill(why)
			}
		}
	}
}

// overdue counts one beat, and returns what makes the program hopeless then.
func (p *peer) overdue() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ending {
		p.quiet += p.beat
	}
	most := beats * p.beat
	if !p.lives {
		most = max(most, startTime)
	}
	if p.quiet > most {
		return fmt.Errorf("the engine's process gave no sign of life for %v", p.quiet)
	}
	for _, c := range p.pending {
		c.quiet += p.beat
		if c.quiet > c.limit.now() {
			return fmt.Errorf("the engine made no step for %v", c.quiet)
		}
	}
	return nil
}
