package process

import (
	"encoding/gob"
	"errors"
	"fmt"
	"image"
	"image/color"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// verb is what a call asks for.
type verb uint8

const (
	cancelCall verb = iota + 1 // of the call with that id; it is not answered
	openRefiner
	check
	generate
)

// call goes to the program.
type call struct {
	ID      uint64
	Do      verb
	Refiner bool // do it with the refiner
	Request *request
}

// request is an sdxl.Request without its callbacks. Gob does not tell a pointer to a zero value from none.
type request struct {
	sdxl.Request
	HasNegative, HasGuidance, HasSeed bool
}

func pack(r sdxl.Request) (*request, error) {
	if r.Progress != nil || r.OnStep != nil {
		return nil, errors.New("process: Progress and OnStep of a request can't be called from another process: must be nil")
	}
	return &request{r, r.NegativePrompt != nil, r.Guidance != nil, r.Seed != nil}, nil
}

func (r *request) unpack() sdxl.Request {
	if r.HasNegative && r.NegativePrompt == nil {
		r.NegativePrompt = new(string)
	}
	if r.HasGuidance && r.Guidance == nil {
		r.Guidance = new(float64)
	}
	if r.HasSeed && r.Seed == nil {
		r.Seed = new(uint64)
	}
	return r.Request
}

// answer comes from the program; the one with id 0 comes first, when the model is open or can't be opened.
type answer struct {
	ID     uint64
	Info   sdxl.Info    // of the model that was opened
	Cost   sdxl.Cost    // likewise; zero if it does not tell
	Device kernels.Info // answer 0
	Result *sdxl.Result
	Failed *failed
	Lost   string // why the engine can compute no more; "" while it can
}

// failed is an error on its way. What the server tells apart is told apart at the other end.
type failed struct {
	Text   string
	Field  *field               // of an *sdxl.RequestError
	Memory bool                 // of kernels.ErrMemory
	Sizes  *kernels.MemoryError // with Memory, if it has them
}

// memoryError is an error for want of the device's memory.
type memoryError struct {
	text  string
	sizes *kernels.MemoryError // or nil
}

func (e memoryError) Error() string      { return e.text }
func (memoryError) Is(target error) bool { return target == kernels.ErrMemory }
func (e memoryError) As(target any) bool {
	to, ok := target.(**kernels.MemoryError)
	if !ok || e.sizes == nil {
		return false
	}
	*to = e.sizes
	return true
}

type field struct {
	Name    string
	Value   any
	Allowed string
	Cause   string
}

func fail(err error) *failed {
	f := &failed{Text: err.Error(), Memory: errors.Is(err, kernels.ErrMemory)}
	errors.As(err, &f.Sizes) // stays nil if there are none
	var bad *sdxl.RequestError
	if errors.As(err, &bad) {
		f.Field = &field{Name: bad.Field, Value: bad.Value, Allowed: bad.Allowed}
		switch bad.Value.(type) {
		case nil, bool, int, uint64, float64, string:
		default: // gob would have to know the type
			f.Field.Value = fmt.Sprint(bad.Value)
		}
		if bad.Err != nil {
			f.Field.Cause = bad.Err.Error()
		}
	}
	return f
}

// error is the error that was sent.
func (f *failed) error() error {
	switch {
	case f == nil:
		return nil
	case f.Memory:
		return memoryError{f.Text, f.Sizes}
	case f.Field == nil:
		return errors.New(f.Text)
	}
	bad := &sdxl.RequestError{Field: f.Field.Name, Value: f.Field.Value, Allowed: f.Field.Allowed}
	if f.Field.Cause != "" {
		bad.Err = errors.New(f.Field.Cause)
	}
	return bad
}

// What a decoded PNG can be.
func init() {
	for _, img := range []image.Image{&image.Gray{}, &image.Gray16{}, &image.NRGBA{}, &image.NRGBA64{}, &image.RGBA{}, &image.RGBA64{}, &image.Paletted{}} {
		gob.Register(img)
	}
	for _, c := range []color.Color{color.RGBA{}, color.NRGBA{}} {
		gob.Register(c)
	}
}
