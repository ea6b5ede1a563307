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

// Layout is where this package puts the fields of CUlaunchConfig, CUlaunchAttribute and CUtensorMap.
func Layout() map[string]uintptr {
	var c launchConfig
	var a launchAttribute
	return map[string]uintptr{
		"sizeof CUlaunchConfig":         unsafe.Sizeof(c),
		"CUlaunchConfig.sharedMemBytes": unsafe.Offsetof(c.dynamicShared),
		"CUlaunchConfig.hStream":        unsafe.Offsetof(c.stream),
		"CUlaunchConfig.attrs":          unsafe.Offsetof(c.attributes),
		"CUlaunchConfig.numAttrs":       unsafe.Offsetof(c.count),
		"sizeof CUlaunchAttribute":      unsafe.Sizeof(a),
		"CUlaunchAttribute.value":       unsafe.Offsetof(a.value),
		"sizeof CUtensorMap":            unsafe.Sizeof(TensorMap{}),
	}
}
