//go:build linux && (amd64 || arm64) && !nocuda

package driver

import (
	"runtime"

	"github.com/ebitengine/purego"
)

// libraryNames are tried in order: the linker's own search, then the folders where WSL, container runtimes and NixOS put the
// driver without telling the linker.
var libraryNames = []string{
	"libcuda.so.1",
	"/usr/lib/wsl/lib/libcuda.so.1",
	"/usr/local/nvidia/lib64/libcuda.so.1",
	"/run/opengl-driver/lib/libcuda.so.1",
}

// shared is libcuda in this process. It is never closed: the driver does not survive that.
type shared struct{ handle uintptr }

func openLibrary() (Library, error) {
	runtime.LockOSThread() // dlerror tells a thread of its own failures alone
	defer runtime.UnlockOSThread()
	var first error
	for _, name := range libraryNames {
		h, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err == nil {
			return shared{h}, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, &NotFoundError{Library: libraryNames[0], Reason: first.Error()}
}

func (l shared) Lookup(name string) (uintptr, bool) {
	p, err := purego.Dlsym(l.handle, name)
	return p, err == nil && p != 0
}

func (l shared) Call(fn uintptr, args []uintptr) Result {
	r, _, _ := purego.SyscallN(fn, args...)
	return Result(uint32(r))
}
