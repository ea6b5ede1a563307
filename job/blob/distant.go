package blob

import (
	"io"
	"time"
)

// Distant is an image in another store, as one of another machine.
type Distant struct {
	Type     Type
	Bytes    int64
	Modified time.Time
	Owner    string // who may see it, if Owned
	Owned    bool
	Content  io.ReadSeeker
}
