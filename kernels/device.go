package kernels

import "context"

// Source yields the tensors of one component by name. The data is little-endian, dense, and stays valid and unchanged as long as
// the source's owner keeps it open.
type Source interface {
	// Names lists every tensor, sorted.
	Names() []string
	// Tensor returns one tensor; an unknown name is an error.
	Tensor(name string) (dtype DType, shape []int, data []byte, err error)
}

// Describer is a Source that tells of a tensor without making its data.
type Describer interface {
	// Describe is Tensor without the data.
	Describe(name string) (dtype DType, shape []int, err error)
}

// Describe tells a tensor's type and shape, without its data where the source can.
func Describe(s Source, name string) (DType, []int, error) {
	if d, ok := s.(Describer); ok {
		return d.Describe(name)
	}
	dtype, shape, _, err := s.Tensor(name)
	return dtype, shape, err
}

// Releaser is a Source whose memory can be given back to the system until it is next read (pages of a mapped file).
type Releaser interface{ Release() error }

// Storage is where a tensor of a Source lies.
type Storage int

const (
	Made   Storage = iota // made when it is asked for, and in memory for as long as it is used
	Kept                  // in memory for as long as the source is open
	Mapped                // in the pages of a mapped file, which the system can take back at any time and read again
)

// Storer is a Source that tells where its tensors lie.
type Storer interface {
	// Storage is Made for an unknown name.
	Storage(name string) Storage
}

// StorageOf is where a tensor lies, Made if the source does not tell.
func StorageOf(s Source, name string) Storage {
	if t, ok := s.(Storer); ok {
		return t.Storage(name)
	}
	return Made
}

// Info describes a device. One of HostMemory computes at once, in the process's own memory. Weights are used there
// where their source has them: those that are Mapped take none of the memory that is counted, others stay for as long
// as they are used.
type Info struct {
	Name       string  // "cpu", "cuda:0"
	Detail     string  // processor and instruction set, or card and driver
	Precisions []DType // in which Compile can compute, the default first
	Memory     int64   // bytes that it may take; 0 if that is not known
	HostMemory bool
	Variant    string   // the kernels in use, for instance "avx512"
	PeakFLOPS  float64  // measured, multiply-adds counted as two, in the default precision; 0 if not measured
	Variants   []string // every kernel variant that this machine can run, the best first
}

// Options chooses how a plan is compiled.
type Options struct {
	Precision DType // of activations; 0 is the device's default
}

// Queues reports whether a device has a queue of its own, in which runs are put: one that has memory of its own. Others
// compute at once.
func Queues(d Device) bool {
	_, budgeted := d.(Budgeted)
	return budgeted && !d.Info().HostMemory
}

// Device compiles plans. Methods are safe for concurrent use.
type Device interface {
	Info() Info
	// Supports reports whether Compile takes this spec; otherwise nn emits the decomposed form.
	Supports(s Spec, in []Tensor) bool
	// NewWeights prepares the tensors of a component for programs of this device.
	NewWeights(src Source) (Weights, error)
	// Compile checks the plan, plans memory and binds weights. w may be nil for a plan without weights.
	Compile(p *Plan, w Weights, o Options) (Program, error)
	// Close frees the device; programs and weights must be closed before.
	Close() error
}

// Weights are a component's tensors on a device, shared by its programs of every size.
type Weights interface {
	// SetResident(false) gives the memory back for a while; programs stay valid, and running one makes them resident again.
	SetResident(ctx context.Context, on bool) error
	// Bytes is what they take of the device's memory now.
	Bytes() int64
	Close() error
}

// Program is a compiled plan. Its methods must not be called concurrently, but programs of one device may be used by different goroutines.
// The programs of a device share one arena: temporaries do not survive another program's run, every other role does.
type Program interface {
	// Write fills a Request, Step or State value with dense data of its type.
	Write(v Value, data []byte) error
	// CopyFrom fills a Request, Step or State value from a State or Result of a program of the same device.
	CopyFrom(v Value, from Program, src Value) error
	// Run computes every node (hoisted ones only if a request value was written since). It checks ctx between nodes and
	// returns its error; a State may then hold the old or the new content.
	Run(ctx context.Context) error
	// Read waits for the last run and copies a State or Result to dst, dense.
	Read(ctx context.Context, v Value, dst []byte) error
	// Finite reports, after a run, the first node in order whose output held NaN or Inf as an [ErrNotFinite] that names its path; nil if none.
	// It may compute the last run again, from the states that run began with.
	Finite(ctx context.Context) error
	// Bytes is the memory of this program alone, weights and shared arena not counted.
	Bytes() int64
	Close() error
}
