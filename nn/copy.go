package nn

import "fmt"

// CopyFrom fills an input, or a state, from an output or a state of another program of the same device, without a visit
// to the host.
func (p *Program) CopyFrom(name string, from *Program, source string) error {
	to, ok := p.named[name]
	if !ok {
		return fmt.Errorf("program %s has no value %q", p.key, name)
	}
	of, ok := from.named[source]
	if !ok {
		return fmt.Errorf("program %s has no value %q", from.key, source)
	}
	return p.Program.CopyFrom(to, from.Program, of)
}
