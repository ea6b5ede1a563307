package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	startTimeout   = 20 * time.Second
	embeddedMemory = 64 << 20 // bytes of streams in memory, of which goxl has none; 0 would be three quarters of the machine's
	largestMessage = 8 << 20  // bytes
)

// EmbeddedOptions say how a NATS server runs in this process.
type EmbeddedOptions struct {
	Folder string // of its streams; not on a file system in memory
	Listen string // host:port for workers; "" is for this process alone
	// Files: of a token that clients must have, and of the certificate and key of the server, with the authorities that
	// sign clients' certificates if those must have one.
	Token, Cert, Key, CA string

	anyFileSystem bool
}

// Embedded is a NATS server in this process.
type Embedded struct{ server *server.Server }

// StartEmbedded starts a NATS server with JetStream, every acknowledged write of which is on the disk.
func StartEmbedded(o EmbeddedOptions) (*Embedded, error) {
	so, err := o.serverOptions()
	if err != nil {
		return nil, err
	}
	if !so.DontListen { // the server itself says nothing of an address that it can't have
		l, err := net.Listen("tcp", o.Listen)
		if err != nil {
			return nil, fmt.Errorf("remote: the embedded NATS server: %w", err)
		}
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("remote: the embedded NATS server: %w", err)
		}
	}
	s, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("remote: the embedded NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("remote: the embedded NATS server does not start: the folder %s can't be written, or another server has it", o.Folder)
	}
	return &Embedded{s}, nil
}

func (o EmbeddedOptions) serverOptions() (*server.Options, error) {
	if o.Folder == "" {
		return nil, errors.New("remote: the folder of the embedded NATS server is empty")
	}
	if err := os.MkdirAll(o.Folder, 0o750); err != nil {
		return nil, fmt.Errorf("remote: the folder of the embedded NATS server: %w", err)
	}
	if !o.anyFileSystem {
		if err := onDisk(o.Folder); err != nil {
			return nil, err
		}
	}
	so := &server.Options{
		ServerName: "goxl", DontListen: o.Listen == "", NoSigs: true, NoLog: true, MaxPayload: largestMessage,
		JetStream: true, StoreDir: o.Folder, SyncAlways: true, JetStreamMaxMemory: embeddedMemory,
	}
	var err error
	if o.Token != "" {
		if so.Authorization, err = readToken(o.Token); err != nil {
			return nil, err
		}
	}
	if o.Listen == "" {
		return so, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err == nil {
		so.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		return nil, fmt.Errorf("remote: the embedded NATS server listens at %q: must be host:port", o.Listen)
	}
	if so.Host = host; host == "" {
		so.Host = "0.0.0.0"
	}
	if so.Port == 0 {
		so.Port = server.RANDOM_PORT
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, fmt.Errorf("remote: the certificate is %q and the key %q: must both be given or none", o.Cert, o.Key)
	}
	if o.Cert == "" {
		return so, nil
	}
	so.TLSConfig, err = server.GenTLSConfig(&server.TLSConfigOpts{CertFile: o.Cert, KeyFile: o.Key, CaFile: o.CA, Verify: o.CA != "", Timeout: 5, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, fmt.Errorf("remote: TLS of the embedded NATS server: %w", err)
	}
	so.TLS, so.TLSTimeout = true, 5
	return so, nil
}

// URL is where the server listens, "" if it serves this process alone.
func (e *Embedded) URL() string {
	if e.server.Addr() == nil {
		return ""
	}
	return e.server.ClientURL()
}

// Connect connects to the server within the process; of o, the name, the token and the log count.
func (e *Embedded) Connect(o Options) (*Conn, error) {
	return Connect(Options{Name: o.Name, Token: o.Token, Log: o.Log, embedded: e})
}

// Close ends the server, when the connections have been closed.
func (e *Embedded) Close() error {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return nil
}
