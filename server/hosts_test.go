package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// On a loopback address, the server answers by this machine's names and the allowed ones.
func TestHosts(t *testing.T) {
	r := run(t, func(c *Config) { c.AllowedHosts = []string{"Images.example", "192.0.2.1", "2001:db8::1"} })
	r.ready(t)
	ask := func(head string) (*http.Response, string) {
		t.Helper()
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, head, "\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	for host, want := range map[string]int{
		r.address: 200, "localhost": 200, "localhost:8000": 200, "LOCALHOST": 200, "localhost.": 200, "goxl.localhost:1": 200, "127.0.0.1": 200,
		"127.1.2.3:99": 200, "[::1]": 200, "[::1]:80": 200, "[::ffff:127.0.0.1]": 200,
		"images.example": 200, "IMAGES.example:443": 200, "192.0.2.1:80": 200, "[2001:DB8::1]:80": 200,
		"evil.example": 403, "evil.example:80": 403, "localhost.evil.example": 403, "notlocalhost": 403, "127.0.0.1.evil.example": 403,
		"192.0.2.2": 403, "0.0.0.0": 403, "127.1": 403, "images.example.evil": 403, "": 403,
	} {
		resp, body := ask("GET /healthz HTTP/1.1\r\nHost: " + host + "\r\n")
		if resp.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, resp.StatusCode, want)
		}
		if want == 403 && (!strings.HasPrefix(body, `{"detail":"The Host header is none of this server's`) || resp.Header.Get("Content-Type") != "application/json" || !resp.Close) {
			t.Errorf("Host %q: %s %v", host, body, resp.Header)
		}
	}
	const evil = "Host: evil.example\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"a\"}"
	for _, head := range []string{
		"POST /generate HTTP/1.1\r\n" + evil, "GET /readyz HTTP/1.1\r\nHost: evil.example\r\n", "GET /nothing HTTP/1.1\r\nHost: evil.example\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n",
		"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n", "GET /healthz HTTP/1.0\r\n",
	} {
		if resp, body := ask(head); resp.StatusCode != 403 {
			t.Errorf("%q: %d %s", head, resp.StatusCode, body)
		}
	}
	if n := r.base.calls.Load(); n > 0 {
		t.Errorf("%d images were computed", n)
	}
	r.end()
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// Elsewhere it answers by any name: who can reach it may call it anything.
func TestHostsElsewhere(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if onLoopback(l) {
		t.Errorf("%v is taken for a loopback address", l.Addr())
	}
	b := newBench(t, nil)
	if err := b.checkHost("images.example"); err != nil {
		t.Error(err)
	}
}

func TestParseHosts(t *testing.T) {
	for _, name := range []string{"a:80", "http://a", "a/b", "*", "*.example", "a b", "user@a", "[::1]:80", " "} {
		if hosts, err := ParseHosts("ok," + name); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("%q: must be", name)) {
			t.Errorf("%q: %v, %v", name, hosts, err)
		}
	}
	for list, want := range map[string]int{"": 0, "a": 1, "A.Example.,10.0.0.1,[::2],::2": 4} {
		if hosts, err := ParseHosts(list); err != nil || len(hosts) != want {
			t.Errorf("%q: %v, %v", list, hosts, err)
		}
	}
	if hosts, err := ParseHosts("a,,b"); err == nil {
		t.Errorf("an empty name: %v", hosts)
	}
}
