package controlnet

import "slices"

// Modes are the names of a union's kinds of control images, by number; those of ProMax come last. Source: xinsir's
// ControlNet++.
var Modes = [][]string{
	{"openpose"},
	{"depth"},
	{"hed", "pidi", "scribble", "ted", "softedge"},
	{"canny", "lineart", "anime_lineart", "mlsd"},
	{"normal"},
	{"segment"},
	{"tile", "blur"},
	{"repaint", "inpaint", "outpaint"},
}

// Mode is the number of a kind of control images by its name.
func Mode(name string) (int, bool) {
	i := slices.IndexFunc(Modes, func(names []string) bool { return slices.Contains(names, name) })
	return i, i >= 0
}
