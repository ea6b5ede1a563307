package process

import (
	"errors"
	"fmt"
	"image"
	"math"
	"reflect"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// verb is what a call asks for.
type verb string

const (
	hello      verb = "hello"  // the first call; it is answered when the models are open
	cancelCall verb = "cancel" // the call with that id; it is not answered
	stopCall   verb = "stop"   // closes Stop of the request of the call with that id; it is not answered
	generate   verb = "generate"
	together   verb = "together" // several jobs, each answered by its own id
)

// call goes to the program.
type call struct {
	ID   uint64
	Do   verb
	Beat time.Duration `json:",omitzero"` // of hello: between two signs of life
	Job  *job          `json:",omitempty"`

	IDs  []uint64 `json:",omitempty"` // of together, one for each of Jobs
	Jobs []*job   `json:",omitempty"`
}

// job is an engine.Job with what is raw apart.
type job struct {
	Name         string `json:",omitempty"`
	Model        engine.Model
	DenoisingEnd float64
	Upscale      *sdxl.Upscaling `json:",omitempty"`
	Parameters   sdxl.Parameters
	Request      request
}

// request is an sdxl.Request without its callbacks, and with what is raw apart: fields here hide those of the same name.
type request struct {
	sdxl.Request
	Image, Mask, Progress, OnStep, Stop, Preview, OnComputed, Taps, Embeddings *struct{} `json:",omitempty"`

	Inputs                inputs
	PreviewEvery          int         `json:",omitempty"` // of Preview, 0 for none
	Latents, ImageLatents *tensor     `json:",omitempty"`
	TextualInversions     []inversion `json:",omitempty"`
}

// inversion is an sdxl.TextualInversion without its vectors, which follow the header.
type inversion struct {
	Name string
	L, G *tensor `json:",omitempty"`
}

// pack takes a job apart.
func pack(j engine.Job) (packed *job, raw [][]byte, err error) {
	r := j.Request
	switch {
	case r.OnStep != nil || !reflect.ValueOf(r.Taps).IsZero():
		return nil, nil, errors.New("process: OnStep and Taps of a request can't be called from another process: must be nil")
	case r.Embeddings != nil:
		return nil, nil, errors.New("process: Embeddings of a request are not sent to another process: must be nil")
	}
	packed = &job{Name: j.Name, Model: j.Model, DenoisingEnd: j.DenoisingEnd, Upscale: j.Upscale, Parameters: j.Parameters}
	packed.Request.Request = r
	if r.Preview != nil {
		packed.Request.PreviewEvery = max(1, r.Preview.Every)
	}
	if packed.Request.Inputs, raw, err = detachInputs(&r); err != nil {
		return nil, nil, err
	}
	var latents, imageLatents []byte
	packed.Request.Latents, latents = detachTensor(r.Latents)
	packed.Request.ImageLatents, imageLatents = detachTensor(r.ImageLatents)
	raw = append(raw, latents, imageLatents)
	for _, t := range r.TextualInversions {
		i := inversion{Name: t.Name}
		var l, g []byte
		i.L, l = detachTensor(t.L)
		i.G, g = detachTensor(t.G)
		packed.Request.TextualInversions, raw = append(packed.Request.TextualInversions, i), append(raw, l, g)
	}
	return packed, raw, nil
}

// unpack reads the raw data and puts the job together.
func (j *job) unpack(l *link) (whole engine.Job, err error) {
	whole = engine.Job{Name: j.Name, Model: j.Model, DenoisingEnd: j.DenoisingEnd, Upscale: j.Upscale, Parameters: j.Parameters, Request: j.Request.Request}
	if err = j.Request.Inputs.attach(&whole.Request, l); err != nil {
		return whole, err
	}
	if whole.Request.Latents, err = j.Request.Latents.read(l); err != nil {
		return whole, err
	}
	if whole.Request.ImageLatents, err = j.Request.ImageLatents.read(l); err != nil {
		return whole, err
	}
	for _, i := range j.Request.TextualInversions {
		t := sdxl.TextualInversion{Name: i.Name}
		if t.L, err = i.L.read(l); err != nil {
			return whole, err
		}
		if t.G, err = i.G.read(l); err != nil {
			return whole, err
		}
		whole.Request.TextualInversions = append(whole.Request.TextualInversions, t)
	}
	return whole, nil
}

// news is what an answer says.
type news string

const (
	done      news = "done"      // the call has ended
	stepped   news = "stepped"   // the call's computation took a step, which is in Step
	previewed news = "previewed" // the call has previews
	loading   news = "loading"   // the call reads weights, as Percent and Kept say
	computed  news = "computed"  // the device has done its part of the call
	alive     news = "alive"     // the program is alive; of no call
)

// answer comes from the program.
type answer struct {
	ID      uint64
	News    news
	Opened  *opened        `json:",omitempty"` // to hello
	Step    *sdxl.Progress `json:",omitempty"`
	Preview *preview       `json:",omitempty"`
	Percent float64        `json:",omitempty"`
	Kept    *keeping       `json:",omitempty"` // also of done
	Result  *result        `json:",omitempty"`
	Failed  *failed        `json:",omitempty"`
	Lost    string         `json:",omitempty"` // why the engine can compute no more; "" while it can
	Usage   *engine.Usage  `json:",omitempty"` // with a sign of life, once it is known
}

// opened describes an engine.
type opened struct {
	Costs  engine.Costs
	Device kernels.Info
}

// keeping describes the models of an engine.Keeper.
type keeping struct {
	Models []engine.ModelStatus
	Costs  *engine.Costs `json:",omitempty"` // of done
}

// preview is what sdxl.Preview.Func is called with; the pixels follow the header.
type preview struct {
	Step   int
	Pixels []pixels

	images []*image.NRGBA // once they were read
}

// packPreview takes images apart.
func packPreview(step int, images []*image.NRGBA) (packed *preview, raw [][]byte, err error) {
	packed = &preview{Step: step}
	packed.Pixels, raw, err = detachAll(images)
	return packed, raw, err
}

// unpack reads the raw data.
func (p *preview) unpack(l *link) (err error) {
	p.images, err = attachAll(p.Pixels, l)
	return err
}

// result is an sdxl.Result with what is raw apart: fields here hide those of the same name.
type result struct {
	sdxl.Result
	Images  *struct{} `json:",omitempty"`
	Pixels  []pixels  // of Images
	Latents *tensor   `json:",omitempty"`
}

// packResult takes a result apart; nil is none.
func packResult(r *sdxl.Result) (packed *result, raw [][]byte, err error) {
	if r == nil {
		return nil, nil, nil
	}
	packed = &result{Result: *r}
	if packed.Pixels, raw, err = detachAll(r.Images); err != nil {
		return nil, nil, err
	}
	var data []byte
	packed.Latents, data = detachTensor(r.Latents)
	return packed, append(raw, data), nil
}

// unpack reads the raw data and puts the result together.
func (r *result) unpack(l *link) (err error) {
	if r.Result.Images, err = attachAll(r.Pixels, l); err != nil {
		return err
	}
	r.Result.Latents, err = r.Latents.read(l)
	return err
}

// failed is an error on its way. The types that the server distinguishes are the same at the other end.
type failed struct {
	Text   string
	Field  *field               `json:",omitempty"` // of an *sdxl.RequestError
	Memory bool                 `json:",omitempty"` // of kernels.ErrMemory
	Sizes  *kernels.MemoryError `json:",omitempty"` // with Memory, if it has them
	Model  string               `json:",omitempty"` // of an *engine.LoadError, whose error the rest is
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
	var load *engine.LoadError
	if errors.As(err, &load) {
		f := fail(load.Err)
		f.Model = load.Model
		return f
	}
	f := &failed{Text: err.Error(), Memory: errors.Is(err, kernels.ErrMemory)}
	errors.As(err, &f.Sizes) // stays nil if there are none
	var bad *sdxl.RequestError
	if errors.As(err, &bad) {
		f.Field = &field{Name: bad.Field, Value: bad.Value, Allowed: bad.Allowed}
		switch v := bad.Value.(type) {
		case nil, bool, int, uint64, string:
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) { // which JSON has no form for
				f.Field.Value = fmt.Sprint(v)
			}
		default:
			f.Field.Value = fmt.Sprint(v)
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
	case f.Model != "":
		inner := *f
		inner.Model = ""
		return &engine.LoadError{Model: f.Model, Err: inner.error()}
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
