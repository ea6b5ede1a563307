package singlefile

import (
	"fmt"
	"slices"
	"strings"
)

// UNetLayoutOf reads the layout from a UNet's tensors, sorted and in either naming; it is false where a level has no
// residual block or the way up is not the mirror of the way down.
func UNetLayoutOf(names []string) (UNetLayout, bool) {
	if has(names, "input_blocks.0.0.") {
		return originalLayout(names)
	}
	l := UNetLayout{}
	for level := 0; has(names, fmt.Sprintf("down_blocks.%d.", level)); level++ {
		l.Layers = append(l.Layers, count(names, fmt.Sprintf("down_blocks.%d.resnets", level)))
		l.UpAttention = append(l.UpAttention, has(names, fmt.Sprintf("up_blocks.%d.attentions.", level)))
	}
	for up := range l.Layers {
		if l.Layers[up] < 1 || count(names, fmt.Sprintf("up_blocks.%d.resnets", up)) != l.upLayers(up) {
			return UNetLayout{}, false
		}
	}
	return l, len(l.Layers) > 0 && !has(names, fmt.Sprintf("up_blocks.%d.", len(l.Layers)))
}

func originalLayout(names []string) (UNetLayout, bool) {
	l, layers := UNetLayout{}, 0
	for n := 1; has(names, fmt.Sprintf("input_blocks.%d.", n)); n++ {
		if has(names, fmt.Sprintf("input_blocks.%d.0.op.", n)) {
			l.Layers, layers = append(l.Layers, layers), 0
			continue
		}
		layers++
	}
	if l.Layers = append(l.Layers, layers); slices.Contains(l.Layers, 0) {
		return UNetLayout{}, false
	}
	for up := range l.Layers {
		first := l.firstOutput(up)
		for n := first; n < first+l.upLayers(up); n++ {
			if !has(names, fmt.Sprintf("output_blocks.%d.0.", n)) {
				return UNetLayout{}, false
			}
		}
		l.UpAttention = append(l.UpAttention, has(names, fmt.Sprintf("output_blocks.%d.1.proj_in.", first)))
	}
	return l, !has(names, fmt.Sprintf("output_blocks.%d.", l.firstOutput(len(l.Layers))))
}

// has reports whether one of the names, which are sorted, begins so.
func has(names []string, prefix string) bool {
	i, _ := slices.BinarySearch(names, prefix)
	return i < len(names) && strings.HasPrefix(names[i], prefix)
}

// count is how many of the entries path.0, path.1 … there are.
func count(names []string, path string) int {
	n := 0
	for has(names, fmt.Sprintf("%s.%d.", path, n)) {
		n++
	}
	return n
}
