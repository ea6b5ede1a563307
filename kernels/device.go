package kernels

import "context"

// Source yields the tensors of one component by name. The data is little-endian, dense, and stays valid and unchanged
// as long as the source's owner keeps it open.
type Source interface {
	// Names lists every tensor, sorted.
	Names() []string
	// Describe returns a tensor's type and shape without making its data; an unknown name is an error.
	Describe(name string) (dtype DType, shape []int, err error)
	// Tensor returns one tensor; an unknown name is an error.
	Tensor(name string) (dtype DType, shape []int, data []byte, err error)
	// Storage says where a tensor lies; it is Made for an unknown name.
	Storage(name string) Storage
	// Release gives back the memory of what the source can read or make again: pages of mapped files, copies, and
	// tensors that it made. Data that was handed out stays valid, and tensors may be read meanwhile.
	Release() error
}

// Storage is where a tensor of a Source lies.
type Storage int

const (
	Made   Storage = iota // made when it is asked for, and in memory for as long as it is used
	Kept                  // in memory for as long as the source is open
	Mapped                // in the pages of a mapped file, which the system can take back at any time and read again
)

// Info describes a device. One of HostMemory computes at once, in the process's own memory. Weights are used there
// where their source has them: those that are Mapped take none of the memory that is counted, others stay for as long
// as they are used. A device with memory of its own puts runs in a queue, and its weights leave that memory for one
// another when they must.
type Info struct {
	Name       string   // "cpu", "cuda:0"
	Detail     string   // CPU and instruction set, or GPU and driver
	Precisions []DType  // in which Compile can compute, the default first
	Memory     int64    // bytes that it may take; 0 if that is not known
	HostMemory bool     // its memory is the process's own
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
func Queues(d Device) bool { return !d.Info().HostMemory }

// Device compiles plans. Methods are safe for concurrent use.
type Device interface {
	Info() Info
	// Supports reports whether Compile takes this spec; otherwise nn emits the decomposed form.
	Supports(s Spec, in []Tensor) bool
	// NewWeights prepares the tensors of a component for programs of this device.
	NewWeights(src Source) (Weights, error)
	// Compile checks the plan, plans memory and binds weights. w may be nil for a plan without weights.
	Compile(p *Plan, w Weights, o Options) (Program, error)
	// Memory reports what the device has taken of its memory, of which it takes no more than a limit.
	Memory() (Memory, error)
	// PeakFLOPS measures how many operations a second the device does at most in the default precision, a multiply-add
	// as two, and remembers it for Info. It takes a fraction of a second and waits for running programs. A device that
	// cannot measure it returns 0.
	PeakFLOPS(ctx context.Context) (float64, error)
	// Lost returns the error that ended the device's work for good, nil while it works.
	Lost() error
	// Close frees the device; programs and weights must be closed before.
	Close() error
}

// Weights are a component's tensors on a device, shared by its programs of every size.
type Weights interface {
	// SetResident(false) gives the memory back for a while; programs stay valid, and running one makes them resident
	// again.
	SetResident(ctx context.Context, on bool) error
	// Update makes some tensors come from an update instead of the source that the weights were made with; nil makes all
	// come from there again. It takes the place of the update before. Programs stay valid, of every size and precision,
	// and compute with the new values from their next run on, also what they compute once a request; it waits for a run
	// under way. Tensors that are not resident take their new values when they come. An error, that of ctx included,
	// leaves the update before in force, and weights that hold anything else are made again from it when they are
	// used next.
	Update(ctx context.Context, u *Update) error
	// Bytes is what they take of the device's memory now.
	Bytes() int64
	Close() error
}

// Program is a compiled plan. Its methods must not be called concurrently, but programs of one device may be used by
// different goroutines. The programs of a device share one arena: temporaries do not survive another program's run,
// every other role does.
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
	// Finite reports, after a run, the first node in order whose output held NaN or Inf as an [ErrNotFinite] that names
	// its path; nil if none. It may compute the last run again, from the states that run began with.
	Finite(ctx context.Context) error
	// AsyncFinite reports whether the device looks, while it runs, for NaN and Inf in the states and results that nodes
	// write. Where it does not, NonFinite and Sync return false, and callers look at what they read.
	AsyncFinite() bool
	// NonFinite reports, without waiting, whether a run since the last Sync is known to have written NaN or Inf.
	// Nothing may be known yet of the last two runs.
	NonFinite() bool
	// Sync waits for the last run, reports whether any run since the last Sync wrote NaN or Inf, and starts anew.
	Sync(ctx context.Context) (nonFinite bool, err error)
	// Bytes is the memory of this program alone, weights and shared arena not counted.
	Bytes() int64
	// Footprint is what the program takes of the device's memory to run, besides Bytes.
	Footprint() Footprint
	Close() error
}
