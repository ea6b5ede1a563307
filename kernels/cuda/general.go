package cuda

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// general are the kernels for any shape and storage type, which run where no tuned kernel fits. GroupNorm has a pair of
// them, of which one is listed.
var general = map[string]bool{
	"attention_plain": true, "group_statistics": true, "layer_norm": true, "activate_1": true, "add_1": true, "concat_1": true, "resize_1": true,
}

// fullSize is the number of weights from which on a model counts as one of full size: SDXL's smallest part has 34
// million.
const fullSize = 30_000_000

// generalUses returns a line for each general kernel that a program of a full-size model launches.
func (p *program) generalUses() []string {
	weights := 0
	for _, t := range p.plan.Tensors {
		if t.Role == kernels.Weight {
			weights += t.Len()
		}
	}
	if weights < fullSize {
		return nil
	}
	var order []string
	first, count := map[string]string{}, map[string]int{}
	for i, n := range p.nodes {
		for _, l := range n.launches {
			if !general[l.kernel] {
				continue
			}
			if count[l.kernel]++; count[l.kernel] == 1 {
				first[l.kernel] = p.plan.Nodes[i].Path
				order = append(order, l.kernel)
			}
		}
	}
	var lines []string
	for _, kernel := range order {
		lines = append(lines, fmt.Sprintf("operations of shapes that no tuned kernel takes run on the general %s, which is slow: %d, the first is %s", kernel, count[kernel], first[kernel]))
	}
	return lines
}

// warnGeneral passes each new line of generalUses to Options.Warn.
func (d *Device) warnGeneral(p *program) {
	if d.warn == nil {
		return
	}
	for _, line := range p.generalUses() {
		if _, known := d.warned.LoadOrStore(line, true); !known {
			d.warn(line)
		}
	}
}
