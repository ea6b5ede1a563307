package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/goxl/goxl/server/auth"
)

func TestParsePrefixes(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "10.0.0.0/8": "10.0.0.0/8", "127.0.0.1,::1,fd00::/8": "127.0.0.1/32 ::1/128 fd00::/8",
	} {
		got, err := ParsePrefixes(list)
		var texts []string
		for _, p := range got {
			texts = append(texts, p.String())
		}
		if err != nil || strings.Join(texts, " ") != want {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	for _, list := range []string{"a", "10.0.0.0/33", "10.0.0.1,", "10.0.0.0/8 ", "::1/129", "10.0.0.1:80"} {
		if got, err := ParsePrefixes(list); err == nil || !strings.Contains(err.Error(), "must be an address or a network") {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
}

// What a request says of its client counts from proxies that are trusted, back to the first address that is not.
func TestForwarded(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
		c.BasePath = "/x"
	})
	defer b.Close()
	for _, c := range []struct {
		peer   string
		header []string // names and values
		client string
		https  bool
		host   string
		prefix string
	}{
		{"192.0.2.1:5", nil, "192.0.2.1", false, "", "/x"},
		{"192.0.2.1:5", []string{"X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "a", "X-Forwarded-Prefix", "/p", "Forwarded", "for=1.2.3.4"}, "192.0.2.1", false, "", "/x"},
		{"10.1.2.3:5", nil, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-For", "1.2.3.4"}, "1.2.3.4", false, "", "/x"},
		{"[fd00::1]:5", []string{"X-Forwarded-For", "2001:db8::7"}, "2001:db8::7", false, "", "/x"},
		{"[::ffff:10.1.2.3]:5", []string{"X-Forwarded-For", "1.2.3.4:55"}, "1.2.3.4", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6, 1.2.3.4"}, "1.2.3.4", false, "", "/x"}, // the first is the client's own word
		{"10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6,1.2.3.4 , 10.9.9.9"}, "1.2.3.4", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "1.2.3.4"}, "1.2.3.4", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-For", "10.7.7.7"}, "10.7.7.7", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-For", "1.2.3.4, unknown"}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-For", ""}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"Forwarded", `for=1.2.3.4;proto=https;host=a.example:8443`}, "1.2.3.4", true, "a.example:8443", "/x"},
		{"10.1.2.3:5", []string{"Forwarded", `For="[2001:db8::7]:47"; by=x, for=10.8.8.8;PROTO=HTTPS`}, "2001:db8::7", true, "", "/x"},
		{"10.1.2.3:5", []string{"Forwarded", `for=6.6.6.6`, "Forwarded", `for="1.2.3.4"`}, "1.2.3.4", false, "", "/x"},
		{"10.1.2.3:5", []string{"Forwarded", `for="1.2.3.4`}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"Forwarded", `for=_hidden`}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"Forwarded", "for=1.2.3.4", "X-Forwarded-For", "1.2.3.4"}, "1.2.3.4", false, "", "/x"},
		{"10.1.2.3:5", []string{"Forwarded", "for=6.6.6.6", "X-Forwarded-For", "1.2.3.4"}, "10.1.2.3", false, "", "/x"}, // one of them is the client's
		{"10.1.2.3:5", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "b.example", "X-Forwarded-Prefix", "/p/q/"}, "10.1.2.3", true, "b.example", "/p/q/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Proto", "https, http"}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Host", "a/b"}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Host", "u@a"}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Host", "[::1]:80"}, "10.1.2.3", false, "[::1]:80", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Prefix", "//evil.example"}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Prefix", "/p/../q"}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Prefix", "p"}, "10.1.2.3", false, "", "/x"},
		{"10.1.2.3:5", []string{"X-Forwarded-Prefix", `/p"><script>`}, "10.1.2.3", false, "", "/x"},
		{"pipe", []string{"X-Forwarded-For", "1.2.3.4"}, "invalid IP", false, "", "/x"},
	} {
		r := httptest.NewRequest("GET", "/x/v1/options", nil)
		r.RemoteAddr = c.peer
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Add(c.header[i], c.header[i+1])
		}
		a := b.arrival(r, nil)
		if a.client.String() != c.client || a.https != c.https || a.host != c.host || a.prefix != c.prefix {
			t.Errorf("%s %q: %+v, want %s %v %q %q", c.peer, c.header, a, c.client, c.https, c.host, c.prefix)
		}
		w := httptest.NewRecorder()
		if b.ServeHTTP(w, r); w.Code != 200 || !strings.Contains(strings.ReplaceAll(b.last(), `"`, ""), " client="+a.name+" ") {
			t.Errorf("%s %q: %d, %s", c.peer, c.header, w.Code, b.last())
		}
	}
}

// FuzzForwarded: no header is more than ignored, and what is kept of one can be sent back.
func FuzzForwarded(f *testing.F) {
	f.Add(`for="[2001:db8::7]:47"; by=x, for=10.8.8.8;PROTO=HTTPS`, "1.2.3.4, 10.1.1.1", "/p", "a:80")
	f.Add(`for="a\"b`, ",", "/../x", "a b")
	s := &Server{config: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	f.Fuzz(func(t *testing.T, standard, named, prefix, host string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:5", Header: http.Header{}}
		r.Header.Set("Forwarded", standard)
		r.Header.Set("X-Forwarded-For", named)
		r.Header.Set("X-Forwarded-Prefix", prefix)
		r.Header.Set("X-Forwarded-Host", host)
		a := s.arrival(r, nil)
		if !a.client.IsValid() || strings.ContainsAny(a.prefix+a.host, "\r\n\" <>\\") || strings.HasPrefix(a.prefix, "//") {
			t.Errorf("%+v", a)
		}
	})
}

// Wrong tokens count for the client, not for the proxy.
func TestFailuresBehindProxy(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	b := loadedBench(t, func(c *Config) {
		c.Tokens, c.TrustedProxies = m.path, []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} // httptest's
	})
	last := 0
	for range 20 {
		last = b.ask("GET", "/v1/jobs", "", "Authorization", "Bearer wrong", "X-Forwarded-For", "198.51.100.7").Code
	}
	if last != 429 {
		t.Errorf("too many of one client: %d", last)
	}
	if w := b.ask("GET", "/v1/jobs", "", "Authorization", "Bearer wrong", "X-Forwarded-For", "198.51.100.8"); w.Code != 401 {
		t.Errorf("another client: %d", w.Code)
	}
}
