package blob

import (
	"errors"
	"io/fs"
	"syscall"
)

// Errors of a store are of one of these kinds. They also wrap what the system said, if it said something.
var (
	// ErrNotFound says that there is no image of an id, or that it is no id.
	ErrNotFound = errors.New("blob: there is no such image")

	// ErrFull says that the disk, or what its owner may use of it, is full.
	ErrFull = errors.New("blob: the folder of images is full")

	// ErrBroken says that the folder can't be used.
	ErrBroken = errors.New("blob: the folder of images can't be used")
)

// Error is an error of a store.
type Error struct {
	Kind   error  // ErrNotFound, ErrFull or ErrBroken
	Reason string // in the system's words, without paths, which are not for clients; "" of ErrNotFound
	Err    error  // what the system said; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Kind.Error()
	}
	return e.Kind.Error() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// reading is what an error of the file system means for an image that should be there.
func reading(err error) error {
	var known *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Kind: ErrNotFound, Err: err}
	}
	return writing(err)
}

// writing is reading where the image is yet to be written, so that something else is missing.
func writing(err error) error {
	e := &Error{Kind: ErrBroken, Reason: "it can't be opened or written", Err: err}
	var number syscall.Errno
	if errors.As(err, &number) {
		e.Reason = number.Error()
	}
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			e.Kind = ErrFull
		}
	}
	return e
}
