package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/server/auth"
)

// Where others than this machine can reach the server, it needs tokens, or to be told that it needs none.
func TestAddressNeedsTokens(t *testing.T) {
	for _, c := range []struct {
		address string
		access  access
		says    string // "" is no error
	}{
		{"127.0.0.1:8000", access{}, ""},
		{"127.9.9.9:0", access{}, ""},
		{"[::1]:8000", access{}, ""},
		{"localhost:8000", access{}, ""},
		{"0.0.0.0:8000", access{}, "-addr 0.0.0.0:8000: other machines can reach it: must be a loopback address, or come with -tokens, or with -insecure"},
		{":8000", access{}, "-addr :8000: other machines"},
		{"[::]:8000", access{}, "other machines"},
		{"192.0.2.1:80", access{}, "other machines"},
		{":8000", access{tokens: "file"}, ""},
		{":8000", access{insecure: true}, ""},
		{"nonsense", access{}, "-addr nonsense: "},
		{"127.0.0.1:1", access{origins: []string{"*"}}, "-cors *: must name origins without -tokens"},
		{"127.0.0.1:1", access{origins: []string{"*"}, tokens: "file"}, ""},
		{"127.0.0.1:1", access{origins: []string{"https://a.example"}}, ""},
		{"127.0.0.1:1", access{cert: "c"}, "-tls-cert c: must come with -tls-key"},
		{"127.0.0.1:1", access{key: "k"}, "-tls-key k: has no meaning without -tls-cert"},
		{"127.0.0.1:1", access{cert: "c", key: "k"}, ""},
	} {
		err := c.access.check(c.address)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %+v: %v, want %q", c.address, c.access, err, c.says)
		}
	}
}

// The command makes tokens that are let in by the line that it prints.
func TestTokenCommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		user auth.User
	}{
		{[]string{"anna"}, auth.User{Name: "anna", Role: auth.Use}},
		{[]string{"ops", "-role", "admin"}, auth.User{Name: "ops", Role: auth.Admin, Priority: 100}},
		{[]string{"ops", "-role", "admin", "-priority", "0"}, auth.User{Name: "ops", Role: auth.Admin}},
		{[]string{"b", "-images-per-day", "10", "-jobs", "2", "-priority", "-7"}, auth.User{Name: "b", Role: auth.Use, ImagesPerDay: 10, Jobs: 2, Priority: -7}},
	} {
		var stdout, stderr bytes.Buffer
		if status := runToken(c.args, &stdout, &stderr); status != 0 {
			t.Errorf("%q: status %d\n%s", c.args, status, &stderr)
			continue
		}
		token, line, _ := strings.Cut(strings.TrimSuffix(stdout.String(), "\n"), "\n")
		hash := sha256.Sum256([]byte(token))
		if !auth.IsToken(token) || line != c.user.Line(token) || !strings.Contains(line, hex.EncodeToString(hash[:])) || strings.Contains(stderr.String(), token) {
			t.Errorf("%q:\n%s%s", c.args, &stdout, &stderr)
		}
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, `the name is ""`},
		{[]string{"-jobs", "3", "anna"}, `unexpected argument "anna"`},
		{[]string{"anna", "bert"}, `unexpected argument "bert"`},
		{[]string{"an na"}, `the name is "an na"`},
		{[]string{"anna", "-role", "root"}, "must be use or admin"},
		{[]string{"anna", "-jobs", "0"}, `jobs is "0": must be 1 to`},
		{[]string{"anna", "-priority", "101"}, "must be -100 to 100"},
	} {
		var stdout, stderr bytes.Buffer
		if status := runToken(c.args, &stdout, &stderr); status != 2 || !strings.Contains(stderr.String(), c.says) || stdout.Len() > 0 {
			t.Errorf("%q: status %d, %s%s, want %q", c.args, status, &stdout, &stderr, c.says)
		}
	}
}

// The flags reach the server: only who has a token of the file is let in, below the path, and pages of the origin read
// what it answers.
func TestAccessFlags(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := runToken([]string{"anna", "-images-per-day", "1"}, &stdout, &stderr); status != 0 {
		t.Fatalf("%s", &stderr)
	}
	token, line, _ := strings.Cut(stdout.String(), "\n")
	folder := t.TempDir()
	file := filepath.Join(folder, "tokens")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	address, log, ended := start(t, "-model", "synth:tiny", "-device", "cpu", "-images", filepath.Join(folder, "images"), "-tokens", file,
		"-base-path", "/x", "-cors", "https://a.example", "-trusted-proxies", "127.0.0.0/8")
	ask := func(method, path, body string, header ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
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
	bearer := []string{"Authorization", "Bearer " + token}
	if !strings.HasSuffix(address, "/x") {
		t.Errorf("the log says %s", address)
	}
	if resp, body := ask("GET", "/v1/jobs", ""); resp.StatusCode != 401 {
		t.Errorf("without a token: %d %s", resp.StatusCode, body)
	}
	const small = `{"prompt":"a","width":64,"height":64,"num_inference_steps":1}`
	resp, body := ask("POST", "/generate", small, append(bearer, "Origin", "https://a.example", "X-Forwarded-For", "192.0.2.9")...)
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "https://a.example" || resp.Header.Get("RateLimit-Remaining") != "0" {
		t.Errorf("%d %s %v", resp.StatusCode, body, resp.Header)
	}
	if !strings.Contains(log.String(), "path=/generate client=192.0.2.9 status=200") || !strings.Contains(log.String(), "user=anna") {
		t.Errorf("the log:\n%s", log)
	}
	if resp, body := ask("POST", "/generate", small, bearer...); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a second image: %d %s", resp.StatusCode, body)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d:\n%s", status, log)
	}
}
