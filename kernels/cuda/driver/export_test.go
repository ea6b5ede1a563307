package driver

import "unsafe"

// RequiredNames and OptionalNames are the two lists of functions.
func RequiredNames() (names []string) {
	for _, n := range required {
		names = append(names, n)
	}
	return names
}

func OptionalNames() (names []string) {
	for _, o := range optional {
		names = append(names, o.name)
	}
	return names
}

// Layout is what this package makes of cuda.h's structures.
func Layout() map[string]uintptr {
	return map[string]uintptr{
		"sizeof CUtensorMap": unsafe.Sizeof(TensorMap{}),
	}
}
