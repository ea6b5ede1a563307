package server

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/server/auth"
)

// certificate is one for example.com, with its files.
type certificate struct {
	cert, key string
	serial    int64
}

// newCertificate writes a certificate that signs itself.
func newCertificate(t *testing.T) *certificate {
	t.Helper()
	folder := t.TempDir()
	c := &certificate{cert: filepath.Join(folder, "cert.pem"), key: filepath.Join(folder, "key.pem")}
	c.renew(t)
	return c
}

// renew writes the next one over the files.
func (c *certificate) renew(t *testing.T) {
	t.Helper()
	c.serial++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(c.serial), Subject: pkix.Name{CommonName: "example.com"}, DNSNames: []string{"example.com"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{c.cert: {Type: "CERTIFICATE", Bytes: der}, c.key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *certificate) use(config *Config) { config.TLSCert, config.TLSKey = c.cert, c.key }

// client is what trusts the certificate that is in the file.
func (c *certificate) client(t *testing.T) *tls.Config {
	t.Helper()
	data, err := os.ReadFile(c.cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return &tls.Config{ServerName: "example.com", RootCAs: pool}
}

// The whole flow by net/http's own client, which is offered HTTP/1.1 alone.
func TestTLS(t *testing.T) {
	c := newCertificate(t)
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	r := run(t, func(config *Config) { c.use(config); config.Tokens = m.path })
	transport := &http.Transport{TLSClientConfig: c.client(t), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ask := func(method, path, body string) (*http.Response, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+r.address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+m.tokens["anna"])
		request.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(data)
	}
	r.until(t, "ready", func() bool { resp, _ := ask("GET", "/readyz", ""); return resp.StatusCode == 200 })
	resp, body := ask("POST", "/generate", `{"prompt":"a"}`)
	if resp.StatusCode != 200 || resp.Proto != "HTTP/1.1" || resp.TLS.NegotiatedProtocol != "http/1.1" || resp.TLS.Version < tls.VersionTLS12 {
		t.Errorf("%d %s %s %+v", resp.StatusCode, resp.Proto, body, resp.TLS)
	}
	big := r.big(t, 3<<20)
	if resp, _ := ask("GET", "/download/"+big, ""); resp.StatusCode != 404 { // of nobody
		t.Errorf("%d", resp.StatusCode)
	}
	if err := r.journal.SetUploader(big, "anna"); err != nil {
		t.Fatal(err)
	}
	if resp, data := ask("GET", "/download/"+big, ""); resp.StatusCode != 200 || len(data) != 3<<20 {
		t.Errorf("%d, %d bytes", resp.StatusCode, len(data))
	}
	if resp, _ := ask("POST", "/v1/session", ""); !strings.Contains(resp.Header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("the cookie %q", resp.Header.Get("Set-Cookie"))
	}
	old := c.client(t)
	old.MaxVersion = tls.VersionTLS11
	if conn, err := tls.Dial("tcp", r.address, old); err == nil {
		t.Error("TLS 1.1 is spoken")
		conn.Close()
	}
	r.end()
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// A client that leaves is noticed while its image is computed, as without TLS: with and without taking leave, whatever it
// sent before.
func TestClientGoneOverTLS(t *testing.T) {
	c := newCertificate(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := run(t, c.use)
		began, stopped := held(r.base)
		config := c.client(t)
		config.MaxVersion = version
		r.until(t, "ready", func() bool { return r.Server.ready() == nil })
		for name, leave := range map[string]func(raw *net.TCPConn, secure *tls.Conn) error{
			"close":      func(_ *net.TCPConn, secure *tls.Conn) error { return secure.Close() },
			"fin":        func(raw *net.TCPConn, _ *tls.Conn) error { return raw.Close() },
			"reset":      func(raw *net.TCPConn, _ *tls.Conn) error { return errors.Join(raw.SetLinger(0), raw.Close()) },
			"half close": func(_ *net.TCPConn, secure *tls.Conn) error { return secure.CloseWrite() },
		} {
			raw, err := net.Dial("tcp", r.address)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			secure := tls.Client(raw, config)
			send(t, secure, post("/generate", `{"prompt":"a"}`))
			<-began
			send(t, secure, "x")
			if err := leave(raw.(*net.TCPConn), secure); err != nil {
				t.Fatal(err)
			}
			r.until(t, name+" noticed", func() bool { return len(stopped) == 1 })
			<-stopped
		}
		r.end()
		if err := r.wait(t); err != nil {
			t.Error(err)
		}
	}
}

// A client that never shakes hands has the time of a header, and then none; one that speaks plain HTTP is answered 400.
func TestNoHandshake(t *testing.T) {
	c := newCertificate(t)
	inMemory(t, c.use, func(t *testing.T, r *running, l *pipes) {
		for _, text := range []string{"", "\x16\x03\x01"} {
			silent := l.dial(t)
			send(t, silent, text)
			if took := ends(t, silent); took != headerTimeout {
				t.Errorf("after %q: %v, want %v", text, took, headerTimeout)
			}
		}
		plain := l.dial(t)
		go func() { _, _ = io.WriteString(plain, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") }()
		resp, err := http.ReadResponse(bufio.NewReader(plain), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 400 || !strings.Contains(string(body), "https://") {
			t.Errorf("%d %s, %v", resp.StatusCode, body, err)
		}
		if !strings.Contains(r.log.String(), "TLS handshake failed") {
			t.Errorf("the log:\n%s", r.log)
		}
	})
}

// A client that takes nothing of its answer is dropped by TLS as without, and does not hold up its successor in a crowd.
func TestStalledTLS(t *testing.T) {
	c := newCertificate(t)
	inMemory(t, func(config *Config) { c.use(config); config.SendTimeout, config.Connections = time.Minute, 16 }, func(t *testing.T, r *running, l *pipes) {
		id := r.big(t, 1<<20)
		raw := l.dial(t)
		secure := tls.Client(raw, c.client(t))
		send(t, secure, "GET /download/"+id+" HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		for _, wait := range []time.Duration{time.Minute - time.Second, 2 * time.Second} {
			if strings.Contains(r.log.String(), "i/o timeout") {
				t.Errorf("it was dropped too early:\n%s", r.log)
			}
			time.Sleep(wait)
			synctest.Wait()
		}
		if !strings.Contains(r.log.String(), "i/o timeout") {
			t.Errorf("it was not dropped:\n%s", r.log)
		}
		for range 40 { // handshakes that are not finished, of which the oldest make room
			client := l.dial(t)
			synctest.Wait()
			defer client.Close()
		}
		last := tls.Client(l.dial(t), c.client(t))
		send(t, last, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body := answer(t, bufio.NewReader(last)); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
}

// A renewed certificate is served a second later; half of one, and a broken one, leave the old one.
func TestCertificateIsRenewed(t *testing.T) {
	c := newCertificate(t)
	first := c.client(t)
	inMemory(t, c.use, func(t *testing.T, r *running, l *pipes) {
		expect := func(config *tls.Config, serial int64) {
			t.Helper()
			time.Sleep(time.Second)
			secure := tls.Client(l.dial(t), config)
			if err := secure.Handshake(); err != nil {
				t.Fatal(err)
			}
			if got := secure.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial {
				t.Errorf("certificate %d, want %d", got, serial)
			}
			secure.Close()
		}
		expect(first, 1)
		if err := os.WriteFile(c.cert, []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		expect(first, 1)
		if !strings.Contains(r.log.String(), "the certificate can't be read again") {
			t.Errorf("the log:\n%s", r.log)
		}
		c.renew(t)
		expect(c.client(t), 2)
		if !strings.Contains(r.log.String(), "the certificate was read again") {
			t.Errorf("the log:\n%s", r.log)
		}
	})
}
