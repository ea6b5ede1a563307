package sdxl

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/t2iadapter"
	"github.com/goxl/goxl/nn"
)

// sideNetwork is a network beside the UNet, opened for a request: a ControlNet or a T2I-Adapter. Runs share it; the
// right to compute orders its use.
type sideNetwork struct {
	key     string
	control *controlnet.Network // or
	adapter *t2iadapter.Adapter
	close   func() error

	// prepared is what programs of a ControlNet hold. Runs share programs; who has the right to compute reads and
	// writes it.
	prepared map[*nn.Program]preparedControl

	owner *sideNetworks
	uses  int // by runs; guarded by the owner
}

// prepare notes what a program holds. Programs that were closed are forgotten with the others, now and then.
func (n *sideNetwork) prepare(p *nn.Program, what preparedControl) {
	const most = 32
	if n.prepared == nil || len(n.prepared) > most {
		n.prepared = map[*nn.Program]preparedControl{}
	}
	n.prepared[p] = what
}

// network is what the planner manages.
func (n *sideNetwork) network() *nn.Network {
	if n.control != nil {
		return n.control.Network
	}
	return n.adapter.Network
}

// idleNetworks is how many networks stay open that no run has when another one is opened. Their weights are pages of
// mapped files, and on a device with memory of its own they leave when another component has no room.
const idleNetworks = 4

// sideNetworks are the networks beside the UNet that a model has opened, the last used first.
type sideNetworks struct {
	mu   sync.Mutex
	all  *list.List // of *sideNetwork
	last uint64     // see number
}

// number tells groups of controls apart: it counts from 1.
func (s *sideNetworks) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return s.last
}

func newSideNetworks() *sideNetworks { return &sideNetworks{all: list.New()} }

// acquire returns the network of a key, opened if it is not there. It is the caller's until he releases it.
func (s *sideNetworks) acquire(key string, open func() (*sideNetwork, error)) (*sideNetwork, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.all.Front(); e != nil; e = e.Next() {
		if n := e.Value.(*sideNetwork); n.key == key {
			s.all.MoveToFront(e)
			n.uses++
			return n, nil
		}
	}
	n, err := open()
	if err != nil {
		return nil, err
	}
	n.key, n.owner, n.uses = key, s, 1
	s.all.PushFront(n)
	if err := s.trim(idleNetworks); err != nil {
		n.uses = 0
		return nil, fmt.Errorf("another one is closed for it: %w", err)
	}
	return n, nil
}

// trim closes idle networks but the last used ones.
func (s *sideNetworks) trim(keep int) error {
	var all []error
	for e := s.all.Front(); e != nil; {
		n, next := e.Value.(*sideNetwork), e.Next()
		if n.uses == 0 {
			if keep--; keep < 0 {
				s.all.Remove(e)
				all = append(all, n.close())
			}
		}
		e = next
	}
	return errors.Join(all...)
}

// release ends a run's use.
func (n *sideNetwork) release() {
	n.owner.mu.Lock()
	defer n.owner.mu.Unlock()
	n.uses--
}

// close closes all that no run has.
func (s *sideNetworks) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trim(0)
}

// fileKey identifies a file, or the files of a folder, as they are now: by path, sizes and times of change.
func fileKey(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	key := fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano())
	if !info.IsDir() {
		return key, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		info, err := os.Stat(path + string(os.PathSeparator) + entry.Name()) // of a link, its target's
		if err != nil {
			return "", err
		}
		key += fmt.Sprintf(" %s %d %d", entry.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return key, nil
}
