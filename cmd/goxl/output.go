package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
)

// stdoutName is the name of standard output, as -o and -save-latents take it.
const stdoutName = "-"

// output is what -o or -save-latents names: a regular file, which appears under its name when it is whole, or what is
// written through and never replaced, a device, a pipe or standard output.
type output struct {
	flag, name string // as given
	path       string // name with the links at its end followed
	kind       outputKind
	info       os.FileInfo // of what is there; nil if nothing is
	descriptor bool        // path is an open file of this process, such as /dev/fd/3
}

type outputKind int

const (
	regularFile outputKind = iota
	writtenThrough
	standardOutput
)

// resolve finds out what a name stands for.
func (s streams) resolve(flag, name string) (output, error) {
	o := output{flag: flag, name: name, path: name}
	if name == stdoutName {
		o.kind = standardOutput
		return o, nil
	}
	info, err := os.Stat(name)
	switch {
	case err == nil:
		o.info = info
	case !errors.Is(err, fs.ErrNotExist):
		return o, o.wrap(err)
	}
	if o.path, o.descriptor, err = followLinks(name); err != nil {
		return o, o.wrap(err)
	}
	switch {
	case info == nil:
	case s.isStdout(info):
		o.kind = standardOutput
	case info.IsDir():
		return o, fmt.Errorf("-%s %s: is a directory, must be a file", flag, name)
	case info.Mode()&fs.ModeSocket != 0:
		return o, fmt.Errorf("-%s %s: is a socket, must be a file, a device or a pipe", flag, name)
	case !info.Mode().IsRegular() || o.descriptor:
		o.kind = writtenThrough
	}
	return o, nil
}

// isStdout reports whether a file is the one that standard output goes to, under whatever name.
func (s streams) isStdout(info os.FileInfo) bool {
	f, ok := s.out.(file)
	if !ok {
		return false
	}
	own, err := f.Stat()
	return err == nil && os.SameFile(own, info)
}

// descriptors are the folders whose entries stand for open files. Their links are followed by opening them alone.
var descriptors = regexp.MustCompile(`^(/dev|/proc/[^/]+|/proc/[^/]+/task/[^/]+)/fd$`)

// followLinks follows symbolic links at the end of a path, to one that may not exist yet.
func followLinks(path string) (end string, descriptor bool, err error) {
	for range 40 { // as Linux
		info, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", false, err
		}
		dir, dirErr := filepath.EvalSymlinks(filepath.Dir(path))
		if dirErr == nil && descriptors.MatchString(dir) {
			return path, true, nil
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return path, false, nil
		}
		target, err := os.Readlink(path)
		if err != nil {
			return "", false, err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", false, syscall.ELOOP
}

// wrap says whose error it is; the path, which is the name or follows from it, only where it differs.
func (o output) wrap(err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if o.path != "" && o.path != o.name {
		return fmt.Errorf("-%s %s (%s): %w", o.flag, o.name, o.path, err)
	}
	return fmt.Errorf("-%s %s: %w", o.flag, o.name, err)
}

// check makes sure, as far as that can be seen without writing, that write will succeed.
func (o output) check(s streams) error {
	switch {
	case o.kind == standardOutput:
		if isTerminal(s.out) {
			return fmt.Errorf("-%s %s: standard output is a terminal: redirect it to a file or a pipe", o.flag, o.name)
		}
		return nil
	case o.kind == writtenThrough:
		if o.info.Mode()&fs.ModeDevice == 0 {
			return nil // to open a pipe and close it again would end what its reader waits for
		}
		f, err := os.OpenFile(o.path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return o.wrap(err)
		}
		return f.Close()
	}
	dir := filepath.Dir(o.path)
	probe, err := os.CreateTemp(dir, ".goxl-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err // the name of the probe means nothing to the user
	}
	if err != nil {
		return fmt.Errorf("-%s %s: can't write to the directory %s: %w", o.flag, o.name, dir, err)
	}
	return nil
}

// write writes all of data.
func (o output) write(ctx context.Context, s streams, data []byte) error {
	switch o.kind {
	case standardOutput:
		if _, err := s.out.Write(data); err != nil {
			return o.wrap(err)
		}
		return nil
	case regularFile:
		return imagefile.WriteFile(o.path, data)
	}
	f, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })() // a pipe's write then ends; other files have no deadlines
	n, err := f.Write(data)
	err = errors.Join(err, f.Close())
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && n == 0:
		return ctx.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("-%s %s: interrupted after %d of %d bytes", o.flag, o.name, n, len(data))
	}
	return o.wrap(err)
}

// open opens what is written through, which has to be there. Where nobody reads a pipe that has a name, it waits for a
// reader.
func (o output) open(ctx context.Context) (*os.File, error) {
	mode := os.O_WRONLY
	switch {
	case o.info.Mode()&fs.ModeNamedPipe != 0:
		mode |= syscall.O_NONBLOCK // else the wait could not be interrupted
	case o.info.Mode().IsRegular():
		mode |= os.O_APPEND // behind what the one who opened it wrote
	}
	for {
		f, err := os.OpenFile(o.path, mode, 0)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.ENXIO) || o.descriptor || o.info.Mode()&fs.ModeNamedPipe == 0 {
			return nil, o.wrap(err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// same reports whether two outputs would overwrite one another, or mix. A character device, such as /dev/null, takes
// any number.
func (o output) same(p output) bool {
	switch {
	case o.kind != p.kind:
		return false
	case o.kind == standardOutput:
		return true
	case o.kind == writtenThrough:
		return o.info.Mode()&fs.ModeCharDevice == 0 && os.SameFile(o.info, p.info)
	}
	return canonical(o.path) == canonical(p.path)
}

func canonical(path string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return filepath.Clean(path)
}

// extensions of files by what they say the content is. Others say nothing of the kind: mktemp makes some, and people
// put dates and versions there.
var extensions = map[string]string{
	".png": "PNG", ".safetensors": "safetensors",
	".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".webp": "WebP", ".gif": "GIF", ".bmp": "BMP", ".dib": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
	".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000", ".j2k": "JPEG 2000", ".ico": "ICO", ".svg": "SVG", ".pdf": "PDF", ".psd": "PSD",
	".exr": "OpenEXR", ".hdr": "Radiance HDR", ".qoi": "QOI", ".tga": "TGA", ".dds": "DDS", ".ppm": "PPM", ".pgm": "PGM", ".pbm": "PBM", ".pnm": "PNM", ".apng": "APNG",
	".mp4": "MP4", ".webm": "WebM", ".json": "JSON", ".txt": "text", ".html": "HTML", ".zip": "ZIP", ".npy": "NumPy", ".npz": "NumPy", ".pt": "PyTorch", ".pth": "PyTorch",
	".ckpt": "PyTorch", ".bin": "PyTorch", ".pkl": "pickle", ".gguf": "GGUF", ".onnx": "ONNX",
}

// checkExtension refuses a name that says that the content is something else than it is, which ends in the extension
// want.
func (o output) checkExtension(want string) error {
	for _, name := range []string{o.name, o.path} {
		if content, known := extensions[strings.ToLower(filepath.Ext(name))]; known && content != extensions[want] {
			return cli.Usagef("-%s %s: %s is an extension of %s files: must be %s, since %s is what is written", o.flag, name, filepath.Ext(name), content, want, extensions[want])
		}
	}
	return nil
}
