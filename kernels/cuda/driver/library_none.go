//go:build !linux || !(amd64 || arm64) || nocuda

package driver

import "runtime"

func openLibrary() (Library, error) {
	if runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		return nil, &NotBuiltError{Reason: "it was built with the tag nocuda: build it without"}
	}
	return nil, &NotBuiltError{Reason: "it is for " + runtime.GOOS + "/" + runtime.GOARCH + ", CUDA needs linux/amd64 or linux/arm64"}
}
