//go:build !windows

package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// File descriptors of the program.
const (
	callsFD   = 3
	answersFD = 4
)

// connect gives the command the program's ends of two pipes, and returns the server's. What the program prints to its
// standard output goes where its standard error goes. started closes the program's ends here.
func connect(c *exec.Cmd) (calls io.WriteCloser, answers io.ReadCloser, started func(), err error) {
	if len(c.ExtraFiles) > 0 {
		return nil, nil, nil, fmt.Errorf("process: the command has %d ExtraFiles: must be none", len(c.ExtraFiles))
	}
	in, toProgram, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	fromProgram, out, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, errors.Join(err, in.Close(), toProgram.Close())
	}
	c.ExtraFiles = []*os.File{in, out} // descriptors 3 and 4
	if c.Stdout == nil {
		c.Stdout = c.Stderr
	}
	return toProgram, fromProgram, func() {
		_ = in.Close() // the program has its own
		_ = out.Close()
	}, nil
}

// pipes are the program's ends.
func pipes() (calls, answers *os.File, err error) {
	for _, fd := range []int{callsFD, answersFD} {
		var s syscall.Stat_t
		if err := syscall.Fstat(fd, &s); err != nil || s.Mode&syscall.S_IFMT != syscall.S_IFIFO {
			return nil, nil, fmt.Errorf("file descriptor %d is no pipe: this program is started by a server alone", fd)
		}
		syscall.CloseOnExec(fd) // nobody else keeps the server from seeing the end
	}
	return os.NewFile(callsFD, "calls"), os.NewFile(answersFD, "answers"), nil
}
