package nn

import "errors"

// keptPrograms bounds the cache: a server generates images of a few sizes again and again, and a program holds memory
// of its own.
const keptPrograms = 4

// Trim closes the cached programs but the last used one, for the memory of their own that they hold.
func (n *Network) Trim() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trim(1)
}

// TrimAll closes all cached programs. Nothing of them may be in use.
func (n *Network) TrimAll() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trim(0)
}

// Spare is what Trim gives back of the device's memory.
func (n *Network) Spare() (bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, p := range n.programs {
		if i > 0 {
			bytes += p.Bytes()
		}
	}
	return bytes
}

// trim closes all programs but the last used ones.
func (n *Network) trim(keep int) error {
	var failed []error
	for len(n.programs) > keep {
		last := len(n.programs) - 1
		failed = append(failed, n.programs[last].Close())
		n.programs = n.programs[:last]
	}
	return errors.Join(failed...)
}
