package kernels

import "fmt"

// OpError is what a shape rule refuses.
type OpError struct {
	Op   string // the spec's type
	What string // input and dimension
	Got  any
	Want any
}

func (e *OpError) Error() string {
	return fmt.Sprintf("%s: %s is %v, want %v", e.Op, e.What, e.Got, e.Want)
}
