package sdxl

import (
	"context"
	"os"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
)

// openedUpscaler is the file that a host enlarged images with last.
type openedUpscaler struct {
	*esrgan.File
	host      *Host
	path      string
	modified  time.Time
	size      int64
	precision kernels.DType // 0 is the device's own
}

// Close takes the upscaler out of the host's planner and closes it.
func (u *openedUpscaler) Close() error {
	u.host.Forget(u.Network)
	return u.File.Close()
}

// openUpscaler opens an upscaler, or takes the last one if it is of the same file. It is a component of the host's
// planner, and stays open until another takes its place or closeUpscaler is called. Who has the right to compute calls it.
func (h *Host) openUpscaler(path string, precision kernels.DType) (*esrgan.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if u := h.upscaler; u != nil {
		if u.path == path && u.modified.Equal(info.ModTime()) && u.size == info.Size() && u.precision == precision {
			return u.File, nil
		}
		if err := h.closeUpscaler(); err != nil {
			return nil, err
		}
	}
	f, err := esrgan.OpenFile(h.device, path, kernels.Options{Precision: precision})
	if err != nil {
		return nil, err
	}
	h.Manage("upscaler", f.Network)
	f.OnOverflow(overflowed(h.memory.log, "upscaler"))
	h.upscaler = &openedUpscaler{f, h, path, info.ModTime(), info.Size(), precision}
	return f, nil
}

// closeUpscaler closes the one that is open, if one is. Who has the right to compute calls it.
func (h *Host) closeUpscaler() error {
	u := h.upscaler
	if u == nil {
		return nil
	}
	h.upscaler = nil
	return u.Close()
}

// CloseUpscaler closes the upscaler that was used last, which the host keeps for the next call. It waits for what
// computes. The caller does so before it closes the device; a model does once it has used one.
func (h *Host) CloseUpscaler() error {
	slot, err := h.acquire(context.Background())
	if err != nil { // which ends with the context alone
		return err
	}
	defer slot.release()
	return h.closeUpscaler()
}
