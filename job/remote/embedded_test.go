package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An embedded server serves its own process; others need an address and the token.
func TestEmbedded(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(" secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	alone, err := StartEmbedded(EmbeddedOptions{Folder: t.TempDir(), anyFileSystem: true})
	if err != nil {
		t.Fatal(err)
	}
	if url := alone.URL(); url != "" {
		t.Errorf("it listens at %s", url)
	}
	c, err := alone.Connect(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.stream(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := alone.Close(); err != nil {
		t.Error(err)
	}
	guarded, err := StartEmbedded(EmbeddedOptions{Folder: t.TempDir(), Listen: "127.0.0.1:0", Token: token, anyFileSystem: true})
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Close()
	if _, err := Connect(Options{URL: guarded.URL()}); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
		t.Errorf("without the token: %v", err)
	}
	for _, connect := range []func(Options) (*Conn, error){Connect, guarded.Connect} {
		c, err := connect(Options{URL: guarded.URL(), Token: token})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What an embedded server, or a connection, can't be made of is said by name.
func TestBadOptions(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for says, o := range map[string]EmbeddedOptions{
		"folder of the embedded NATS server is empty": {},
		`listens at "nowhere": must be host:port`:     {Folder: t.TempDir(), Listen: "nowhere", anyFileSystem: true},
		"empty is empty":                  {Folder: t.TempDir(), Token: empty, anyFileSystem: true},
		"not a directory":                 {Folder: filepath.Join(empty, "x")},
		`the key "": must both be given`:  {Folder: t.TempDir(), Listen: "127.0.0.1:0", Cert: "x", anyFileSystem: true},
		"TLS of the embedded NATS server": {Folder: t.TempDir(), Listen: "127.0.0.1:0", Cert: empty, Key: empty, anyFileSystem: true},
		"cannot assign requested address": {Folder: t.TempDir(), Listen: "192.0.2.1:4222", anyFileSystem: true},
	} {
		if s, err := StartEmbedded(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
			if err == nil {
				_ = s.Close()
			}
		}
	}
	for says, o := range map[string]Options{
		"NATS at nats://127.0.0.1:1":     {URL: "nats://127.0.0.1:1"},
		"no such file":                   {URL: "nats://127.0.0.1:1", Token: "/none"},
		`the key "": must both be given`: {URL: "nats://127.0.0.1:1", Cert: "x"},
	} {
		if _, err := Connect(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
