// Package pickle reads the tensors of files that PyTorch writes with torch.save (.ckpt, .pt, .pth, .bin), and runs none
// of their code.
//
// Such a file is a program for a machine that builds Python objects and may call any function. [Parse] is that machine
// with containers, numbers and strings alone: of all functions it knows the few that torch.save needs for tensors
// (calls lists them), which are written here in Go, and it refuses a file that calls another one by that function's
// name. A class that is only mentioned, as PyTorch Lightning mentions its callbacks, is skipped.
//
// It reads protocols 2 to 5, in the zip archives of PyTorch 1.6 and later and in the form before them. Tensors alias
// the file unless their storage is compressed. Sizes, depths and counts have limits, so that a hostile file is refused
// before it takes memory and time.
//
// Source: Python's Lib/pickletools.py for opcodes; torch/serialization.py, torch/_utils.py and
// torch/_weights_only_unpickler.py.
package pickle

import (
	"bytes"
	"fmt"
	"strings"
)

// Limits of a file. SDXL's largest, a single-file checkpoint, has 2,515 tensors and a pickle of 700 KB.
const (
	maxPickle  = 32 << 20 // bytes of instructions
	maxStack   = 1 << 20  // values on the machine's stack, and in its memo
	maxObjects = 4 << 20  // containers and their items, tensors and results of calls
	maxTensors = 100_000
	maxName    = 1024
	maxDepth   = 16 // of dictionaries in one another
	maxRank    = 8
	maxDim     = 1<<31 - 1
	// maxExpanded is what a tensor that is larger than its storage, since it repeats elements, may take.
	maxExpanded = 64 << 20
	// maxInflated is how often larger than the file what it holds compressed may be; PyTorch compresses nothing.
	maxInflated = 16
)

// File is what a file holds.
type File struct {
	Tensors []Tensor          // sorted by name, which are different
	Values  map[string]string // strings and numbers beside the tensors, outermost level alone
}

// Tensor is one tensor of a file.
type Tensor struct {
	Name    string // keys of dictionaries in one another are joined by dots
	DType   string // as safetensors files name it: "F16", "F8_E4M3", "BOOL", …; C128 beyond those
	Size    int    // bytes of an element
	Shape   []int
	Strides []int // in elements, nil if the elements lie in order
	// Data is from the first element to the last one of the storage that the tensor has, little-endian. It aliases the
	// file from Offset on, or Offset is -1 and it is a copy.
	Data   []byte
	Offset int
}

// Error is what is wrong with a file.
type Error struct {
	Tensor  string // empty if the file as a whole is meant
	What    string // the part that is wrong, with the value found
	Allowed string // what would be right; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Tensor != "" {
		fmt.Fprintf(&b, "tensor %s: ", quote(e.Tensor))
	}
	b.WriteString(e.What)
	if e.Allowed != "" {
		b.WriteString("; allowed: " + e.Allowed)
	}
	return b.String()
}

func errorf(format string, a ...any) *Error { return &Error{What: fmt.Sprintf(format, a...)} }

// quote shows a string from a file: quoted, and shortened if it is very long.
func quote(s string) string {
	const limit = 200
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// zipStart is how a zip archive begins.
var zipStart = []byte("PK\x03\x04")

// Starts reports whether a file that starts with data is one for Parse: a zip archive, or a pickle of the protocols 2 to
// 5.
func Starts(data []byte) bool {
	return bytes.HasPrefix(data, zipStart) || len(data) > 1 && data[0] == opProto && data[1] >= 2 && data[1] <= 5
}

// Parse reads a whole file. Errors are an [*Error].
func Parse(data []byte) (*File, error) {
	var root value
	var err *Error
	if bytes.HasPrefix(data, zipStart) {
		root, err = parseZip(data)
	} else {
		root, err = parseLegacy(data)
	}
	if err != nil {
		return nil, err
	}
	f, err := collect(root)
	if err != nil {
		return nil, err
	}
	return f, nil
}
