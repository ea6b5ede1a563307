package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Kinds of errors that jobs end with.
const (
	KindInternal     = "internal_error"
	KindInvalid      = "invalid"          // of the request; job.Error.Detail has a Problem
	KindNoImage      = "image_not_found"  // the one that image-to-image begins with
	KindTooLarge     = "too_large"        // for the memory of every device
	KindTooLong      = "request_too_long" // for what brings requests to workers
	KindStoreFull    = "store_full"
	KindStoreBroken  = "store_broken"
	KindTookTooLong  = "took_too_long"
	KindDeviceFailed = "device_failed"
	KindModelFailed  = "model_failed" // it can't be loaded
	KindStopping     = "stopping"
)

// Words of errors for clients.
const (
	TooLargeWords     = "The device has too little memory for this image: ask for a smaller one"
	TookTooLongWords  = "The image took longer than a request may"
	DeviceFailedWords = "The device failed while it computed this image; it is being opened again"
	StoppingWords     = "The server is stopping"
	InternalWords     = "Internal Server Error"
	NoImageWords      = "Image not found"
	StoreFullWords    = "The folder of images is full"
	StoreBrokenWords  = "The folder of images can't be used"
)

// Error is an error of a known kind, with words for the client.
type Error struct {
	Kind    string
	Message string
	Detail  json.RawMessage // see job.Error
	Err     error           // what the log has; nil is Message
}

// forJob is the error as a job has it.
func (e *Error) forJob() *job.Error {
	return &job.Error{Kind: e.Kind, Message: e.Message, Detail: e.Detail}
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Problem is the detail of an error of KindInvalid: what an [sdxl.RequestError] says.
type Problem struct {
	Field   string          `json:"field"`
	Value   json.RawMessage `json:"value"`
	Allowed string          `json:"allowed"`
	Reason  string          `json:"reason,omitzero"`
}

// classify finds the kind of any error of a computation; one of no known kind is the server's own.
func classify(err error) *Error {
	var known *Error
	var request *sdxl.RequestError
	var stored *blob.Error
	var load *engine.LoadError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &stored):
		return OfStore(stored)
	case errors.As(err, &request):
		return invalid(request)
	case errors.Is(err, kernels.ErrMemory):
		return &Error{Kind: KindTooLarge, Message: tooLargeWords(err), Err: err}
	case errors.As(err, &load):
		return &Error{Kind: KindModelFailed, Message: "The model " + load.Model + " can't be loaded: " + load.Err.Error(), Err: err}
	case errors.Is(err, job.ErrClosed):
		return &Error{Kind: KindStopping, Message: StoppingWords, Err: err}
	}
	return &Error{Kind: KindInternal, Message: InternalWords, Err: err}
}

// OfStore is an error of the folder of images.
func OfStore(err *blob.Error) *Error {
	e := &Error{Kind: KindStoreBroken, Message: StoreBrokenWords + ": " + err.Reason, Err: err}
	switch {
	case errors.Is(err, blob.ErrNotFound):
		e.Kind, e.Message = KindNoImage, NoImageWords
	case errors.Is(err, blob.ErrFull):
		e.Kind, e.Message = KindStoreFull, StoreFullWords+": "+err.Reason
	}
	return e
}

// invalid is the error of a request, for the log without the value, which may be a prompt.
func invalid(e *sdxl.RequestError) *Error {
	p := Problem{Field: e.Field, Allowed: e.Allowed}
	var err error
	if p.Value, err = json.Marshal(e.Value); err != nil { // NaN, or a type that JSON has no form for
		p.Value, _ = json.Marshal(fmt.Sprint(e.Value)) // a string has a form
	}
	words := e.Field + " must be " + e.Allowed
	if e.Err != nil {
		p.Reason = e.Err.Error()
		words += ": " + p.Reason
	}
	detail, err := json.Marshal(p)
	if err != nil { // of texts and JSON, which have a form
		return &Error{Kind: KindInternal, Message: InternalWords, Err: err}
	}
	return &Error{Kind: KindInvalid, Message: words, Detail: detail, Err: errors.New(e.Field + " " + Loggable(e))}
}

// Loggable is what the log may have of a request's error: not the value, nor the reason where that may quote a prompt.
func Loggable(e *sdxl.RequestError) string {
	if e.Err == nil || strings.Contains(e.Field, "prompt") {
		return "must be " + e.Allowed
	}
	return "must be " + e.Allowed + ": " + e.Err.Error()
}

// tooLargeWords say how much memory was needed and how much is allowed, if the device says so.
func tooLargeWords(err error) string {
	var sizes *kernels.MemoryError
	if !errors.As(err, &sizes) {
		return TooLargeWords
	}
	return fmt.Sprintf("%s: %s needed, %s allowed", TooLargeWords, kernels.FormatBytes(sizes.Needed), kernels.FormatBytes(sizes.Allowed))
}

// tookTooLong is the cause of the end of a computation that has had its time.
func tookTooLong(words string) *Error {
	return &Error{Kind: KindTookTooLong, Message: words}
}

// ours reports whether an error is one that somebody has to look after.
func (e *Error) ours() bool {
	return e.Kind == KindInternal || e.Kind == KindModelFailed || e.Kind == KindStoreFull || e.Kind == KindStoreBroken
}

// ended is the error of what was done within ctx. Once that has ended, whatever came of it, nobody wants it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Failure is what a job says that ended with an error.
func Failure(err error) *job.Error { return classify(err).forJob() }
