package driver

import (
	"bytes"
	"fmt"
	"strings"
	"unsafe"
)

// Module is a loaded PTX module, cubin or fat binary.
type Module struct {
	context *Context
	handle  uintptr
}

// CUjit_option of cuda.h.
const (
	jitErrorLog     = 5
	jitErrorLogSize = 6
)

// jit holds the options of cuModuleLoadDataEx in one object, so that one pointer keeps all of them alive.
type jit struct {
	options [2]uint32
	values  [2]uintptr
	log     [16 << 10]byte
}

// LoadModule loads PTX text, a cubin or a fat binary. PTX is compiled by the driver, which keeps the result in its cache on disk;
// when that fails, the error's detail is the compiler's log.
func (c *Context) LoadModule(image []byte) (*Module, error) {
	if len(image) == 0 {
		return nil, fmt.Errorf("cuda: image of a module has 0 bytes")
	}
	// The driver reads PTX up to a zero byte; binaries carry their length.
	if !bytes.HasPrefix(image, []byte("\x7fELF")) && !bytes.HasPrefix(image, []byte("\x50\xed\x55\xba")) {
		image = append(bytes.Clone(image), 0)
	}
	j := &jit{options: [2]uint32{jitErrorLog, jitErrorLogSize}}
	j.values = [2]uintptr{uintptr(unsafe.Pointer(&j.log)), uintptr(len(j.log))}
	m := &Module{context: c}
	err := c.call(cuModuleLoadDataEx, uintptr(unsafe.Pointer(&m.handle)), uintptr(unsafe.Pointer(&image[0])),
		uintptr(len(j.options)), uintptr(unsafe.Pointer(&j.options)), uintptr(unsafe.Pointer(&j.values)))
	if err == nil {
		return m, nil
	}
	text, _, _ := bytes.Cut(j.log[:], []byte{0})
	if e, ok := err.(*Error); ok && len(text) > 0 {
		err = &Error{Call: e.Call, Code: e.Code, Detail: strings.TrimSpace(string(text))}
	}
	return nil, c.outOfMemory(err, cuModuleLoadDataEx, 0)
}

// Close unloads the module with its functions. Not for concurrent use; closing twice is harmless.
func (m *Module) Close() error {
	h := m.handle
	m.handle = 0
	return m.context.release(cuModuleUnload, h)
}

// Function returns the kernel of that name.
func (m *Module) Function(name string) (*Function, error) {
	text := append([]byte(name), 0)
	f := &Function{context: m.context, name: name}
	err := m.context.call(cuModuleGetFunction, uintptr(unsafe.Pointer(&f.handle)), m.handle, uintptr(unsafe.Pointer(&text[0])))
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	return f, nil
}
