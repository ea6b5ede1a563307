package kernels

import (
	"errors"
	"fmt"
)

// ErrNotFinite is what errors.Is finds in what Program.Finite says of values. Its other errors are the device's or the context's.
var ErrNotFinite = errors.New("kernels: not finite")

// NotFinitef is fmt.Errorf for such an error.
func NotFinitef(format string, args ...any) error { return notFinite{fmt.Errorf(format, args...)} }

type notFinite struct{ error }

func (notFinite) Is(target error) bool { return target == ErrNotFinite }
