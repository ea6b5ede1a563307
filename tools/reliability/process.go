package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs.
type process struct {
	cmd   *exec.Cmd
	log   string        // file
	ended chan struct{} // closed when the process has ended
	err   error         // how; after ended
	base  string        // of URLs; "" until it listens
	began time.Time
}

// listening is the log's record of the address.
var listening = regexp.MustCompile(`msg=listening address=(http://\S+)`)

// spawn starts a server without waiting for it. Its flags come before those of the command line, which win.
func (s *setup) spawn(flags ...string) (*process, error) {
	args := append([]string{"-addr", "127.0.0.1:0", "-images", s.images()}, flags...)
	return s.program(append(args, s.args...))
}

// program starts the server's program with just these arguments.
func (s *setup) program(args []string) (*process, error) {
	log, err := os.CreateTemp(s.folder, "server-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	p := &process{cmd: exec.Command(s.server, args...), log: log.Name(), ended: make(chan struct{}), began: time.Now()}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// start starts a server and waits until it is ready.
func (s *setup) start(ctx context.Context, flags ...string) (*process, error) {
	p, err := s.spawn(flags...)
	if err != nil {
		return nil, err
	}
	if err = p.listens(ctx); err == nil {
		err = p.ready(ctx)
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

var errEnded = errors.New("the server has ended")

// listens waits until the server listens.
func (p *process) listens(ctx context.Context) error {
	for {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		if m := listening.FindSubmatch(text); m != nil {
			p.base = string(m[1])
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-p.ended:
			return fmt.Errorf("%w: %v\n%s", errEnded, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("the server does not listen: %w\n%s", context.Cause(ctx), p.tail())
		}
	}
}

// ready waits until the server would take work.
func (p *process) ready(ctx context.Context) error {
	c := newClient(func() string { return p.base }, newReport(), newLatencies())
	defer c.close()
	for {
		a, err := c.get(ctx, "/readyz")
		if err == nil && a.status == 200 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.ended:
			return fmt.Errorf("%w: %v\n%s", errEnded, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", context.Cause(ctx), p.tail())
		}
	}
}

// kill ends the process as a power cut does, and waits for that.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it has ended, else
	<-p.ended
}

// stop asks the server to end, and waits.
func (p *process) stop(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("the server does not end: %w", context.Cause(ctx))
	}
	if p.err != nil {
		return fmt.Errorf("the end of the server: %w\n%s", p.err, p.tail())
	}
	return nil
}

// tail is the end of the log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// levels are what a process and its children hold.
type levels struct {
	resident, anonymous int64 // bytes; the second without mapped files
	files               int
	goroutines          int // 0 where they were not asked for
}

func (l levels) String() string {
	text := fmt.Sprintf("%.1f MiB resident, %d files", mib(l.resident), l.files)
	if l.goroutines > 0 {
		text += fmt.Sprintf(", %d goroutines", l.goroutines)
	}
	return text
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// levels reads what the process holds, and those that it started, from /proc: a card has a process of its own.
func (p *process) levels() (all levels, err error) {
	pids, err := family(p.cmd.Process.Pid)
	if err != nil {
		return all, err
	}
	for _, pid := range pids {
		of := filepath.Join("/proc", strconv.Itoa(pid))
		status, err := os.ReadFile(filepath.Join(of, "status"))
		if errors.Is(err, fs.ErrNotExist) && pid != p.cmd.Process.Pid {
			continue // it has ended since
		}
		var l levels
		if err == nil {
			l.resident, err = kilobytes(string(status), "VmRSS")
		}
		if err == nil {
			l.anonymous, err = kilobytes(string(status), "RssAnon")
		}
		if err != nil {
			return all, err
		}
		files, err := os.ReadDir(filepath.Join(of, "fd"))
		if err != nil {
			return all, err
		}
		all.resident, all.anonymous, all.files = all.resident+l.resident, all.anonymous+l.anonymous, all.files+len(files)
	}
	return all, nil
}

// family is a process and all that descend from it.
func family(pid int) (list []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended since
		}
		// The name before the last bracket may have anything in it; the state and the parent follow.
		after := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(after) > 1 {
			if parent, err := strconv.Atoi(after[1]); err == nil {
				children[parent] = append(children[parent], child)
			}
		}
	}
	list = []int{pid}
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list, nil
}

// kilobytes is a field of /proc/PID/status in bytes.
func kilobytes(status, name string) (int64, error) {
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		return n << 10, err
	}
	return 0, fmt.Errorf("/proc has no %s of the process", name)
}

// host is a line about the machine.
func host() string {
	cpu := "unknown CPU"
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	load := "unknown load"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(text)); len(f) > 0 {
			load = "load " + f[0]
		}
	}
	return fmt.Sprintf("%s, %d CPUs, %s at the start", cpu, runtime.NumCPU(), load)
}
