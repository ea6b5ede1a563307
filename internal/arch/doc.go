// Package arch holds no code: its tests hold the rules of the tree, who may import whom first of all.
package arch
