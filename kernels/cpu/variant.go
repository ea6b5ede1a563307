package cpu

import (
	"fmt"
	"strings"
)

// variant is a set of kernels for one instruction set.
type variant struct {
	name string
	gemm *gemmKernels
	vec  *vecKernels
}

// portable is plain Go and runs everywhere.
var portable = &variant{"portable", gemmPortable, &vecPortable}

// chooseVariant returns the variant of that name, or the best one for "".
func chooseVariant(name string) (*variant, error) {
	all := variants()
	if name == "" {
		return all[0], nil
	}
	for _, v := range all {
		if v.name == name {
			return v, nil
		}
	}
	return nil, fmt.Errorf("cpu: variant %q: this machine and build have %s", name, strings.Join(variantNames(), ", "))
}

// variantNames lists what this machine can run, the best first.
func variantNames() []string {
	var names []string
	for _, v := range variants() {
		names = append(names, v.name)
	}
	return names
}
