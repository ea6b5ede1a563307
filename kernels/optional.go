package kernels

// Budgeted is a Device that keeps count of its memory: every one.
type Budgeted interface {
	Memory() (Memory, error)
}

// Releaser is a Source whose memory can be given back to the system: every one.
type Releaser interface{ Release() error }
