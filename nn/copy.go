package nn

import "fmt"

// CopyFrom fills an input with an output or a state of a program of the same device, which may be another network's, as
// its last run left it; on a card nothing passes through the host. The two agree in type and number of elements,
// whatever their shapes. The copy waits for runs under way as far as the device needs it.
func (p *Program) CopyFrom(name string, from *Program, src string) error {
	dst, ok := p.named[name]
	if !ok {
		return fmt.Errorf("program %s has no value %q", p.key, name)
	}
	if path, ok := from.aliases[src]; ok {
		x := p.plan.Tensors[dst]
		data := make([]float32, x.Len())
		if err := from.readGiven(src, path, data); err != nil {
			return err
		}
		return p.set(name, x.DType, x.Len(), bytesOf(data))
	}
	v, ok := from.named[src]
	if !ok {
		return fmt.Errorf("program %s has no value %q", from.key, src)
	}
	to, t := p.plan.Tensors[dst], from.plan.Tensors[v]
	if to.DType != t.DType || to.Len() != t.Len() {
		return fmt.Errorf("program %s: %q is %v %v and cannot be copied from %q of program %s, which is %v %v: must be of one type and size",
			p.key, name, to.DType, to.Shape, src, from.key, t.DType, t.Shape)
	}
	if err := p.Program.CopyFrom(dst, from.Program, v); err != nil {
		return err
	}
	for s := range p.tapped.programs() {
		if dst, ok := s.named[name]; ok {
			if err := s.CopyFrom(dst, from.Program, v); err != nil {
				return err
			}
		}
	}
	return nil
}
