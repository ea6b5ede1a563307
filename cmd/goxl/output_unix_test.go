//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// drawnPNG fails the test unless data is a PNG of the tiny model's and nothing more.
func drawnPNG(t *testing.T, what string, data []byte) {
	t.Helper()
	if !bytes.HasPrefix(data, []byte("\x89PNG\r\n")) || !bytes.HasSuffix(data, []byte("IEND\xaeB`\x82")) || bytes.Count(data, []byte("IHDR")) != 1 {
		t.Errorf("%s got %d bytes, %.40q…, want a PNG", what, len(data), data)
	}
}

// into draws with the tiny model to what -o names.
func into(out string, more ...string) []string {
	return tiny("", append([]string{"-o", out}, more...)...)
}

func TestOutputLinks(t *testing.T) {
	dir := t.TempDir()
	real, linked := filepath.Join(dir, "real"), filepath.Join(dir, "linked")
	for _, err := range []error{os.MkdirAll(filepath.Join(real, "deep"), 0o755), os.Symlink(filepath.Join("real", "deep"), linked)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(dir, "old.png")
	write(t, old, "what was there")
	for _, c := range []struct{ name, to, end string }{
		{filepath.Join(dir, "absolute.png"), old, old},
		{filepath.Join(dir, "relative.png"), "old.png", old},
		{filepath.Join(dir, "two.png"), "relative.png", old},
		{filepath.Join(dir, "dangling.png"), "new.png", filepath.Join(dir, "new.png")},
		{filepath.Join(linked, "up.png"), "../up.png", filepath.Join(real, "up.png")}, // from where the folder is, not from where its link is
	} {
		if err := os.Symlink(c.to, c.name); err != nil {
			t.Fatal(err)
		}
		if a := must(t, into(c.name)...); a.out != c.name+"\n" {
			t.Errorf("%s: wrote %q", c.name, a.out)
		}
		if to, err := os.Readlink(c.name); err != nil || to != c.to {
			t.Errorf("%s is a link to %q, %v, want %q", c.name, to, err, c.to)
		}
		if info, err := os.Lstat(c.end); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s leads to %v, %v", c.name, info, err)
			continue
		}
		drawnPNG(t, c.name, read(t, c.end))
	}
	latents := filepath.Join(dir, "latents")
	if err := os.Symlink("l.safetensors", latents); err != nil {
		t.Fatal(err)
	}
	must(t, into(old, "-save-latents", latents)...)
	if info, err := os.Lstat(latents); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("-save-latents replaced a link: %v, %v", info, err)
	}
	if _, err := readLatents("latents", filepath.Join(dir, "l.safetensors")); err != nil {
		t.Error(err)
	}
	loop := filepath.Join(dir, "loop.png")
	if err := os.Symlink("loop.png", loop); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{into(loop), "-o " + loop + ": too many levels of symbolic links"},
		{into(filepath.Join(dir, "two.png"), "-save-latents", old), "-save-latents " + old + ": must differ from -o"},
	} {
		if a := goxl(t, c.args...); a.status == 0 || !strings.Contains(a.err, c.says) {
			t.Errorf("%q: status %d, said %q, want %q", c.args, a.status, a.err, c.says)
		}
	}
}

// reading reads a pipe to its end; wait gives what came.
func reading(t *testing.T, path string) (wait func() []byte) {
	t.Helper()
	done := make(chan []byte, 1)
	go func() {
		f, err := os.Open(path) // waits for a writer
		if err != nil {
			t.Error(err)
		}
		defer f.Close()
		data, err := io.ReadAll(f)
		if err != nil {
			t.Error(err)
		}
		done <- data
	}()
	return func() []byte { return <-done }
}

func TestOutputPipe(t *testing.T) {
	dir := t.TempDir()
	pipe, latents := filepath.Join(dir, "pipe"), filepath.Join(dir, "latents")
	for _, path := range []string{pipe, latents} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link.png")
	if err := os.Symlink("pipe", link); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{pipe, link} {
		image, x := reading(t, pipe), reading(t, latents)
		if a := must(t, into(out, "-save-latents", latents)...); a.out != out+"\n"+latents+"\n" {
			t.Errorf("%s: wrote %q", out, a.out)
		}
		for _, path := range []string{pipe, latents} {
			if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
				t.Fatalf("%s was replaced: %v, %v", path, info, err)
			}
		}
		drawnPNG(t, out, image())
		if data := x(); !bytes.Contains(data[:100], []byte(`"latents"`)) {
			t.Errorf("the latents' pipe got %.100q…", data)
		}
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{into(pipe, "-n", "2"), "-n 2: must be 1 with -o " + pipe},
		{into(pipe, "-save-latents", link), "must differ from -o"},
	} {
		if a := goxl(t, c.args...); a.status != 2 || !strings.Contains(a.err, c.says) {
			t.Errorf("%q: status %d, said %q, want %q", c.args, a.status, a.err, c.says)
		}
	}
}

// Who waits for a reader can be interrupted, and so can who waits until the reader goes on.
func TestOutputPipeInterrupted(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	s := streams{io.Discard, io.Discard}
	o, err := s.resolve("o", pipe)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := o.write(ctx, s, []byte("x")); err != context.DeadlineExceeded {
			t.Errorf("without a reader: %v", err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		reader, err := os.Open(pipe) // waits for the writer
		if err != nil {
			t.Error(err)
			return
		}
		defer reader.Close()
		if _, err := io.ReadFull(reader, make([]byte, 10)); err != nil { // the first bytes are there when the write has begun
			t.Error(err)
		}
		cancel()
		<-written
	}()
	if err := o.write(ctx, s, make([]byte, 10<<20)); err == nil || !strings.Contains(err.Error(), "interrupted after ") {
		t.Errorf("a reader that stops: %v", err)
	}
	close(written)
	<-ended
}

// A device is written to and stays one. The node is this test's own: a fault replaces it.
func TestOutputDevice(t *testing.T) {
	null := filepath.Join(t.TempDir(), "null")
	err := syscall.Mknod(null, syscall.S_IFCHR|0o600, 1<<8|3) // as /dev/null of Linux
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(null, os.O_WRONLY, 0); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		t.Skipf("no device can be made here: %v", err)
	}
	if a := must(t, into(null, "-save-latents", null)...); a.out != null+"\n"+null+"\n" {
		t.Errorf("wrote %q", a.out)
	}
	if info, err := os.Lstat(null); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		t.Errorf("the device was replaced: %v, %v", info, err)
	}
	if a := goxl(t, into(null, "-n", "2")...); a.status != 2 || !strings.Contains(a.err, "-n 2: must be 1 with -o "+null) {
		t.Errorf("two images: status %d, said %q", a.status, a.err)
	}
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(null), "*")); err != nil || len(names) != 1 {
		t.Errorf("beside the device lie %q, %v", names, err)
	}
}

// TestOutputDescriptors runs the program itself with its standard output, and with a third file, under the names that
// the system gives open files.
func TestOutputDescriptors(t *testing.T) {
	dir := t.TempDir()
	program := func(stdout io.Writer, third *os.File, args ...string) error {
		c := exec.CommandContext(t.Context(), os.Args[0], args...)
		c.Env = append(os.Environ(), asProgram+"=1")
		c.Stdout, c.Stderr = stdout, os.Stderr
		if third != nil {
			c.ExtraFiles = []*os.File{third}
		}
		return c.Run()
	}
	if _, err := os.Stat("/proc/self/fd/1"); err != nil {
		t.Skip(err)
	}
	stdout := filepath.Join(dir, "stdout") // as /dev/stdout, but this test's own: a fault replaces it
	if err := os.Symlink("/proc/self/fd/1", stdout); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stdout, "/dev/fd/1", "-"} {
		var piped bytes.Buffer
		if err := program(&piped, nil, into(name)...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		drawnPNG(t, name+", a pipe", piped.Bytes())
		f, err := os.Create(filepath.Join(dir, "redirected"))
		if err != nil {
			t.Fatal(err)
		}
		if err := program(f, nil, into(name)...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		drawnPNG(t, name+", a file", read(t, f.Name()))
		if same, err := f.Stat(); err != nil || same.Size() == 0 {
			t.Errorf("%s: the file that was redirected to was replaced: %v, %v", name, same, err)
		}
		f.Close()
	}
	f, err := os.Create(filepath.Join(dir, "third"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var said bytes.Buffer
	if err := program(&said, f, into("/dev/fd/3")...); err != nil || said.String() != "/dev/fd/3\n" {
		t.Errorf("/dev/fd/3: said %q, %v", &said, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		t.Errorf("/dev/fd/3: the open file was replaced: %v, %v", info, err)
	}
	drawnPNG(t, "/dev/fd/3", read(t, f.Name()))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make(chan []byte, 1)
	go func() {
		data, _ := io.ReadAll(r)
		got <- data
	}()
	if err := program(io.Discard, w, into("/dev/fd/3")...); err != nil {
		t.Error(err)
	}
	w.Close()
	drawnPNG(t, "/dev/fd/3, a pipe", <-got)
}
