package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// model is what the API serves and the workers say that they have.
const model = "synth:tiny"

// plan are the flags, and the processes of a run.
type plan struct {
	server, folder    string
	jobs, workers     int
	sleep             time.Duration
	url, listen, name string

	api, nats *exec.Cmd
	address   string // of the API
	crew      []*exec.Cmd
	hired     int
	round     int // of scale: keys of jobs differ between rounds
}

// freePort is an address that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// prepare makes the folder and starts NATS and the API.
func (p *plan) prepare(ctx context.Context) (err error) {
	if p.server == "" || p.folder == "" {
		return errors.New("-server and -folder must be given")
	}
	if err := os.MkdirAll(p.folder, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(p.folder)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty", p.folder)
	}
	if p.listen, err = freePort(); err != nil {
		return err
	}
	p.url = "nats://" + p.listen
	if p.address, err = freePort(); err != nil {
		return err
	}
	if err := p.startNATS(ctx); err != nil {
		return err
	}
	return p.startAPI(ctx)
}

// start starts a process whose log goes to a file.
func (p *plan) start(name, program string, args ...string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(p.folder, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c, c.Start()
}

func (p *plan) startNATS(ctx context.Context) (err error) {
	if p.nats, err = p.start("nats", os.Args[0], "broker", "-listen", p.listen, "-folder", filepath.Join(p.folder, "nats")); err != nil {
		return err
	}
	return wait(ctx, "NATS", func() bool {
		c, err := net.Dial("tcp", p.listen)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func (p *plan) startAPI(ctx context.Context) (err error) {
	p.api, err = p.start("api", p.server, "-role", "api", "-nats", p.url, "-addr", p.address, "-images", filepath.Join(p.folder, "images"),
		"-model", model, "-queue", fmt.Sprint(p.jobs+1000))
	if err != nil {
		return err
	}
	return wait(ctx, "the API", func() bool {
		r, err := http.Get("http://" + p.address + "/healthz")
		if err != nil {
			return false
		}
		return r.Body.Close() == nil
	})
}

func (p *plan) hire() (*exec.Cmd, error) {
	p.hired++
	name := fmt.Sprintf("worker%03d", p.hired)
	return p.start(name, os.Args[0], "worker", "-nats", p.url, "-name", name, "-folder", p.folder, "-sleep", p.sleep.String())
}

// kill ends a process as a power cut does.
func kill(c *exec.Cmd) {
	if c != nil {
		_ = c.Process.Kill() // it has ended, else
		_ = c.Wait()
	}
}

// end ends all processes.
func (p *plan) end() {
	for _, c := range append(p.crew, p.api, p.nats) {
		kill(c)
	}
}

// computed counts the computations of all workers, and those of jobs that were computed before.
func (p *plan) computed() (all, again int, err error) {
	files, err := filepath.Glob(filepath.Join(p.folder, "computed-*"))
	if err != nil {
		return 0, 0, err
	}
	seen := map[string]bool{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return 0, 0, err
		}
		lines := bufio.NewScanner(strings.NewReader(string(data)))
		for lines.Scan() {
			all++
			if seen[lines.Text()] {
				again++
			}
			seen[lines.Text()] = true
		}
	}
	return all, again, nil
}

// wait asks until something is there.
func wait(ctx context.Context, what string, there func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for !there() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s is not there: %w", what, context.Cause(ctx))
		}
	}
	return nil
}
