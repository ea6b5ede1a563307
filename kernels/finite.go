package kernels

import (
	"errors"
	"fmt"
)

// ErrNotFinite is what errors.Is finds in an error that reports NaN or Inf, which Program.Finite found or a caller saw
// in results.
var ErrNotFinite = errors.New("kernels: not finite")

// NotFinitef is fmt.Errorf for such an error.
func NotFinitef(format string, args ...any) error { return notFinite{fmt.Errorf(format, args...)} }

type notFinite struct{ error }

func (e notFinite) Unwrap() error { return e.error }

func (notFinite) Is(target error) bool { return target == ErrNotFinite }
