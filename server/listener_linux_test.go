package server

import (
	"net"
	"syscall"
	"testing"
)

// The system keeps little of what a client does not read, or sends ahead.
func TestSocketBuffers(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := newBench(t, nil).listener(inner).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*conn).raw.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string]int{"sent": syscall.SO_SNDBUF, "received": syscall.SO_RCVBUF} {
		var bytes int
		if cerr := raw.Control(func(fd uintptr) { bytes, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, option) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		if bytes > 2*socketBuffer { // the system takes as much again for its own account
			t.Errorf("%s: %d bytes, want at most %d", name, bytes, 2*socketBuffer)
		}
	}
}
