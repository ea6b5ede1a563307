package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/goxl/goxl/internal/reload"
)

// openTLS reads the certificate, if there is one.
func (s *Server) openTLS() error {
	c := &s.config
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("server: TLSCert is %q and TLSKey %q: must be two files, or none", c.TLSCert, c.TLSKey)
	}
	if c.TLSCert == "" {
		return nil
	}
	certificate, err := reload.New(func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		return &pair, err
	}, func(err error) {
		if err != nil { // also while only one of the two files is new
			c.Log.Error("the certificate can't be read again: the one of before stays", slog.String("error", err.Error()))
			return
		}
		c.Log.Info("the certificate was read again")
	}, c.TLSCert, c.TLSKey)
	if err != nil {
		return fmt.Errorf("server: TLSCert %s and TLSKey %s: %w", c.TLSCert, c.TLSKey, err)
	}
	s.tls = &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Connections are read ahead, paced and counted one request at a time, which HTTP/2 is not.
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Get(), nil },
	}
	return nil
}

// handshakeFailed reports whether an error of reading ended a connection of TLS before it was one. A client that speaks
// plain HTTP is answered that.
func (c *conn) handshakeFailed(err error) bool {
	secure, ok := c.Conn.(*tls.Conn)
	if err == nil || !ok || secure.ConnectionState().HandshakeComplete {
		return false
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && plainHTTP(record.RecordHeader) {
		_ = c.raw.SetWriteDeadline(time.Now().Add(drainAnswer))
		_, _ = io.WriteString(c.raw, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+
			"This server speaks HTTPS: the URL must begin with https://\n") // the connection ends in any case
	}
	if !errors.Is(err, io.EOF) { // as of those who look whether the port is open
		c.owner.log.Info("TLS handshake failed", slog.String("client", c.RemoteAddr().String()), slog.String("error", err.Error()))
	}
	return true
}

// plainHTTP reports whether what came in place of a record is the beginning of a request.
func plainHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET":
		return true
	}
	return false
}
