package sdxl

import "fmt"

// RequestError is a field of a request that can't be done.
type RequestError struct {
	Field   string // the name that diffusers gives it: "height", "num_inference_steps", …
	Value   any
	Allowed string
	Err     error // cause; may be nil
}

func (e *RequestError) Error() string {
	s := fmt.Sprintf("%s is %v: must be %s", e.Field, e.Value, e.Allowed)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *RequestError) Unwrap() error { return e.Err }

// ModelError is a model that can't be used: what is missing or wrong, and where.
type ModelError struct {
	Path string
	Err  error
}

func (e *ModelError) Error() string { return fmt.Sprintf("model %s: %v", e.Path, e.Err) }
func (e *ModelError) Unwrap() error { return e.Err }

// PartError is a part of a model, taken from elsewhere (Options.UNet, Options.VAE, Options.TAESD, Options.PreviewTAESD,
// Options.Missing), that can't be used.
type PartError struct {
	Part string // "UNet", "VAE", "TAESD", "preview TAESD" or "base", the model for what is missing
	Err  error
}

func (e *PartError) Error() string { return e.Part + ": " + e.Err.Error() }
func (e *PartError) Unwrap() error { return e.Err }
