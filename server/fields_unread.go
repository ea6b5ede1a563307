package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// givenNames are the names of the fields that have a value, in order.
func (f *fields) givenNames() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		if string(f.values[name]) != "null" {
			names = append(names, name)
		}
	}
	return names
}

// unread are those of the names that nobody read, unknown ones and those that mean nothing for the task, with members of
// objects, and a warning of them, "" without any.
func (f *fields) unread(given []string) (names []string, warning string) {
	for _, name := range given {
		if !f.used[name] {
			names = append(names, name)
		}
	}
	names = append(names, f.strange...)
	if len(names) == 0 {
		return nil, ""
	}
	words, more := []string{}, ""
	for _, name := range names[:min(len(names), mostNamed)] {
		words = append(words, beginning(name))
	}
	if n := len(names) - mostNamed; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return names, "fields without an effect here: " + strings.Join(words, ", ") + more
}
