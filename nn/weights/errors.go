package weights

import (
	"errors"
	"fmt"
	"strings"
)

// ErrClosed is the error of reading a tensor of a closed source.
var ErrClosed = errors.New("weights are closed")

// FileError is an error in a weights file, or in one tensor of it.
type FileError struct {
	File    string // path
	Tensor  string // empty if the file as a whole is meant
	What    string // the part that is wrong, with the value found
	Allowed string // what would be right; may be empty
	Err     error  // cause; may be nil
}

func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Tensor != "" {
		fmt.Fprintf(&b, ": tensor %s", quote(e.Tensor))
	}
	if e.What != "" {
		b.WriteString(": " + e.What)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Allowed != "" {
		b.WriteString("; allowed: " + e.Allowed)
	}
	return b.String()
}

func (e *FileError) Unwrap() error { return e.Err }

// DTypeError is a tensor of an element type that no model takes. It is returned when the tensor is read, so that a file
// may hold such tensors (token position ids in int64, say) as long as nothing uses them.
type DTypeError struct {
	File, Tensor string
	DType        string // the file's name of the type, for instance "I64"
}

func (e *DTypeError) Error() string {
	return fmt.Sprintf("%s: tensor %s: element type %s; allowed: %s", e.File, quote(e.Tensor), e.DType, usableTypes)
}

// NameError is a tensor that a source does not have.
type NameError struct{ Source, Tensor string }

func (e *NameError) Error() string {
	return fmt.Sprintf("%s: no tensor %s", e.Source, quote(e.Tensor))
}

// ConfigError is a key of a JSON configuration that cannot be used.
type ConfigError struct {
	File    string
	Key     string // empty if the file as a whole is meant
	Value   string // JSON, shortened; may be empty
	Allowed string // what would be right, or what is wrong with the file
}

func (e *ConfigError) Error() string {
	switch {
	case e.Key == "":
		return fmt.Sprintf("%s: %s", e.File, e.Allowed)
	case e.Value == "":
		return fmt.Sprintf("%s: %s: %s", e.File, quote(e.Key), e.Allowed)
	}
	return fmt.Sprintf("%s: %s is %s; allowed: %s", e.File, quote(e.Key), e.Value, e.Allowed)
}

// quote shows a name from a file: quoted, and shortened if it is very long.
func quote(s string) string { return fmt.Sprintf("%q", shorten(s)) }

func shorten(s string) string {
	const limit = 200
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
