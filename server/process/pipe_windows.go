package process

import (
	"io"
	"os"
	"os/exec"
)

// connect returns the server's ends of the command's standard input and output: on Windows, package os/exec passes no
// further files.
func connect(c *exec.Cmd) (calls io.WriteCloser, answers io.ReadCloser, started func(), err error) {
	if calls, err = c.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if answers, err = c.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	return calls, answers, func() {}, nil
}

// pipes are the program's ends. What else in the program prints to standard output prints to standard error from now
// on.
func pipes() (calls, answers *os.File, err error) {
	calls, answers = os.Stdin, os.Stdout
	os.Stdout = os.Stderr
	return calls, answers, nil
}
