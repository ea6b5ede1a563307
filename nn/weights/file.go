package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// File is a safetensors file, or one that torch.save wrote (.ckpt, .pt, .pth, .bin; see package pickle). It is a [kernels.Source], safe for concurrent use.
type File struct {
	path     string
	metadata map[string]string
	names    []string
	entries  map[string]*entry
	release  func([]byte) error // nil if there are no pages to release
	unmap    func([]byte) error
	mapped   bool // data is the pages of the file

	mu     sync.RWMutex // guards data and closed; readers hold it while they slice
	data   []byte       // the whole file
	closed bool
}

// entry is a tensor of a file.
type entry struct {
	dtype      kernels.DType // what Tensor returns, 0 if no model takes it
	stored     string        // the file's name of its type
	shape      []int
	size       int64  // bytes of all elements
	begin, end int    // in the whole file
	held       []byte // its data if that was compressed, begin and end are 0 then

	dense func([]byte) []byte // puts elements that do not lie in order into it, nil if they do
	cast  func([]byte) []byte // see elementType

	mu sync.Mutex
	// copy is what Tensor returns in place of the file's bytes, until Release: elements of another type or in another
	// order, or data copied to an aligned address. mu guards it.
	copy []byte
}

// bytes is the data in a file, which may be more than the tensor has if that does not lie in order.
func (e *entry) bytes(file []byte) []byte {
	if e.held != nil {
		return e.held
	}
	return file[e.begin:e.end:e.end]
}

// Open maps a safetensors file, or one that torch.save wrote, into memory and checks its header or its pickle, which
// runs no code; the data is read when it is used. What the file is called does not matter. Errors about the content are
// a [*FileError].
func Open(path string) (*File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // to open a pipe would wait for its writer
		return nil, &FileError{File: path, What: notRegular(info.Mode()), Allowed: "a safetensors file or a pickle of torch.save"}
	}
	f, err := os.Open(path)
	if _, link := os.Readlink(path); link == nil && errors.Is(err, fs.ErrNotExist) {
		return nil, &FileError{File: path, What: "a link to a file that is not there, the download is incomplete", Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // a mapping outlives its descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 { // an empty file cannot be mapped
		return nil, &FileError{File: path, What: "0 bytes are too short for a safetensors file"}
	}
	if int64(int(info.Size())) != info.Size() {
		return nil, &FileError{File: path, What: fmt.Sprintf("%d bytes are more than this machine can address", info.Size())}
	}
	data, err := mapFile(f, int(info.Size()))
	if err != nil {
		return nil, &FileError{File: path, What: "reading", Err: err}
	}
	file, err := Parse(path, data)
	if err != nil {
		unmapFile(data)
		return nil, err
	}
	file.release, file.unmap, file.mapped = releaseFile, unmapFile, mapping
	return file, nil
}

// notRegular names what is no regular file.
func notRegular(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "this is a folder, not a regular file"
	case mode&fs.ModeNamedPipe != 0:
		return "this is a named pipe, not a regular file"
	case mode&fs.ModeSocket != 0:
		return "this is a socket, not a regular file"
	}
	return "this is a device, not a regular file"
}

// Parse is [Open] of a file that is in memory, an embedded one say; name stands for it in errors. The data is aliased,
// not copied.
func Parse(name string, data []byte) (*File, error) {
	if isPickle(data) {
		return parsePickle(name, data)
	}
	h, err := parseHeader(data)
	if err != nil {
		if what := foreign(data); len(data) > 0 && what != "" {
			err = &FileError{What: "this is " + what, Allowed: "a safetensors file or a pickle of torch.save"}
		}
		err.File = name
		return nil, err
	}
	return &File{path: name, data: data, metadata: h.metadata, entries: h.entries, names: slices.Sorted(maps.Keys(h.entries))}, nil
}

// Path is the file's path, or the name given to [Parse].
func (f *File) Path() string { return f.path }

// Metadata returns the free text of the header, nil if there is none.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Names lists every tensor, sorted, those of element types that no model takes included.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Tensor returns a tensor whose data aliases the file; it must not be written to and is valid until Close. Float64 is
// rounded to float32, to nearest even, float8 (E4M3 without infinities, as torch.float8_e4m3fn, and E5M2) is widened to
// float16, which holds every value of it, and data that is not aligned to its element's size is copied, once each until
// Release. Errors are [*NameError], [*DTypeError] or [ErrClosed].
func (f *File) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, err := f.Describe(name)
	if err != nil {
		return 0, nil, nil, err
	}
	e := f.entries[name]
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return 0, nil, nil, fmt.Errorf("%s: tensor %s: %w", f.path, quote(name), ErrClosed)
	}
	data := e.bytes(f.data)
	if !e.inPlace(data) {
		data = e.copied(data)
	}
	return dtype, shape, data, nil
}

// copied is the copy of data, made if there is none.
func (e *entry) copied(data []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.copy != nil {
		return e.copy
	}
	switch {
	case e.dense != nil:
		e.copy = e.dense(data)
	case e.cast == nil:
		e.copy = slices.Clone(data)
	default:
		e.copy = data
	}
	if e.cast != nil {
		e.copy = e.cast(e.copy)
	}
	return e.copy
}

// inPlace reports whether Tensor can return data itself: of the type that it returns, in order and aligned.
func (e *entry) inPlace(data []byte) bool {
	return e.cast == nil && e.dense == nil && (len(data) == 0 || uintptr(unsafe.Pointer(&data[0]))%uintptr(e.dtype.Size()) == 0)
}

// Storage implements [kernels.Source]: a tensor that can't be used in place is copied when it is read.
func (f *File) Storage(name string) kernels.Storage {
	e, ok := f.entries[name]
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case !ok || f.closed || e.dtype == 0 || !e.inPlace(e.bytes(f.data)):
		return kernels.Made
	case f.mapped && e.held == nil:
		return kernels.Mapped
	}
	return kernels.Kept
}

// Describe implements [kernels.Source]; errors are those of Tensor.
func (f *File) Describe(name string) (kernels.DType, []int, error) {
	e, ok := f.entries[name]
	if !ok {
		return 0, nil, &NameError{Source: f.path, Tensor: name}
	}
	if e.dtype == 0 {
		return 0, nil, &DTypeError{File: f.path, Tensor: name, DType: e.stored}
	}
	return e.dtype, slices.Clone(e.shape), nil
}

// Stored returns the file's own name of a tensor's element type ("F16", "I64"), its shape and its bytes, without
// reading the data.
func (f *File) Stored(name string) (dtype string, shape []int, bytes int64, err error) {
	e, ok := f.entries[name]
	if !ok {
		return "", nil, 0, &NameError{Source: f.path, Tensor: name}
	}
	return e.stored, slices.Clone(e.shape), e.size, nil
}

// Raw returns the elements of a tensor as they are stored, in order and whatever their type, which Stored names. The
// bytes alias the file, must not be written to and are valid until Close. Errors are [*NameError] or [ErrClosed].
func (f *File) Raw(name string) ([]byte, error) {
	e, ok := f.entries[name]
	if !ok {
		return nil, &NameError{Source: f.path, Tensor: name}
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return nil, fmt.Errorf("%s: tensor %s: %w", f.path, quote(name), ErrClosed)
	}
	data := e.bytes(f.data)
	if e.dense != nil {
		data = e.dense(data)
	}
	return data, nil
}

// Release returns the pages read so far to the system, and frees copies; tensors stay valid and are read again from the
// file.
func (f *File) Release() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, e := range f.entries {
		e.mu.Lock()
		e.copy = nil
		e.mu.Unlock()
	}
	if f.closed || f.release == nil {
		return nil
	}
	return f.release(f.data)
}

// Close unmaps the file. Tensors got before are invalid from then on. Closing twice is harmless.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	data := f.data
	f.data = nil
	if f.unmap == nil {
		return nil
	}
	return f.unmap(data)
}
