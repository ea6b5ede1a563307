package nn

import "slices"

// Number tells values apart, such as models that a program can be built of, for the keys of programs: it counts them
// from 0 in the order in which they are first given. v is comparable, and kept.
func (n *Network) Number(v any) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.numbered, v)
	if i < 0 {
		i = len(n.numbered)
		n.numbered = append(n.numbered, v)
	}
	return i
}
