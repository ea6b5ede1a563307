package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// arrival is how a request came here, by the connection, and by what proxies say of it that are trusted.
type arrival struct {
	client netip.Addr // the zero Addr where it is unknown
	name   string     // of the client, for the log
	https  bool       // the client speaks TLS
	host   string     // that the client asks, with its port; "" is the request's
	prefix string     // of paths, as the client sees them: what a proxy cut off, and Config.BasePath
}

// ParsePrefixes reads a list as Config.TrustedProxies: addresses and networks with commas between them.
func ParsePrefixes(list string) (prefixes []netip.Prefix, err error) {
	if list == "" {
		return nil, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(text); err == nil {
				p, err = a.Prefix(a.BitLen())
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%q: must be an address or a network, as 10.0.0.0/8", text)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// arrival reads where a request comes from.
func (s *Server) arrival(r *http.Request, c *conn) arrival {
	a := arrival{name: r.RemoteAddr, https: r.TLS != nil || c != nil && c.secure, prefix: s.config.BasePath}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.client = peer.Addr().Unmap()
	}
	if s.trusts(a.client) {
		s.readForwarded(&a, r.Header)
	}
	return a
}

// trusts reports whether an address is that of a proxy whose headers count.
func (s *Server) trusts(a netip.Addr) bool {
	for _, p := range s.config.TrustedProxies {
		if a.IsValid() && p.Contains(a) {
			return true
		}
	}
	return false
}

// hop is what one proxy says of who asked it.
type hop struct{ client, proto, host string }

// readForwarded reads X-Forwarded-For, -Proto, -Host and -Prefix, and RFC 7239's Forwarded. A proxy that writes one of
// the two kinds lets the other through as a client wrote it: where both are there, and do not tell of the same client,
// the request counts as the proxy's own.
func (s *Server) readForwarded(a *arrival, h http.Header) {
	x := hop{proto: lastOf(h, "X-Forwarded-Proto"), host: lastOf(h, "X-Forwarded-Host")}
	named := hopsOf(h, "X-Forwarded-For")
	standard := parseForwarded(strings.Join(h.Values("Forwarded"), ","))
	client := s.clientOf(a.client, named)
	if len(standard) > 0 {
		list := make([]string, len(standard))
		for i, one := range standard {
			list[i] = one.client
		}
		other, last := s.clientOf(a.client, list), standard[len(standard)-1]
		switch {
		case len(named) == 0:
			client = other
		case client != other:
			client = a.client
		}
		if x.proto == "" {
			x.proto = last.proto
		}
		if x.host == "" {
			x.host = last.host
		}
	}
	if client != a.client {
		a.client, a.name = client, client.String()
	}
	if x.proto != "" {
		a.https = strings.EqualFold(x.proto, "https")
	}
	if isAuthority(x.host) {
		a.host = x.host
	}
	if prefix := strings.TrimSuffix(lastOf(h, "X-Forwarded-Prefix"), "/"); isPrefix(prefix) {
		a.prefix = prefix + a.prefix
	}
}

// clientOf goes back from a proxy along the addresses that were noted, from the last one, while they are those of
// proxies that are trusted, and gives the first one that is not.
func (s *Server) clientOf(proxy netip.Addr, noted []string) netip.Addr {
	at := proxy
	for i := len(noted) - 1; i >= 0 && s.trusts(at); i-- {
		before, ok := parseNode(noted[i])
		if !ok {
			break
		}
		at = before
	}
	return at
}

// parseNode reads an address, which may have a port, and brackets.
func parseNode(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var p netip.AddrPort
		p, err = netip.ParseAddrPort(text)
		a = p.Addr()
	}
	return a.Unmap(), err == nil
}

// isAuthority reports whether a text is a host, with a port or not.
func isAuthority(text string) bool {
	u, err := url.Parse("http://" + text)
	if err != nil || u.Host != text || u.Hostname() == "" {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil || hostName.MatchString(u.Hostname())
}

// hopsOf are the values of a header that is a list, in order.
func hopsOf(h http.Header, name string) (list []string) {
	for _, line := range h.Values(name) {
		for value := range strings.SplitSeq(line, ",") {
			list = append(list, strings.TrimSpace(value))
		}
	}
	return list
}

// lastOf is the last value of a header that is a list: the proxy next to the server wrote it.
func lastOf(h http.Header, name string) string {
	list := hopsOf(h, name)
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// parseForwarded reads the elements of a header Forwarded, none where it is not well-formed.
func parseForwarded(text string) (list []hop) {
	if text == "" {
		return nil
	}
	var one hop
	for {
		name, value, rest, ok := forwardedPair(strings.TrimLeft(text, " \t"))
		if !ok {
			return nil
		}
		switch strings.ToLower(name) {
		case "for":
			one.client = value
		case "proto":
			one.proto = value
		case "host":
			one.host = value
		}
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" || rest[0] == ',' {
			list = append(list, one)
			one = hop{}
		}
		if rest == "" {
			return list
		}
		if rest[0] != ',' && rest[0] != ';' {
			return nil
		}
		text = rest[1:]
	}
}

// forwardedPair cuts name=value off a text; the value may be in quotes.
func forwardedPair(text string) (name, value, rest string, ok bool) {
	name, rest, ok = strings.Cut(text, "=")
	if !ok || name == "" || strings.ContainsAny(name, " \t,;\"") {
		return "", "", "", false
	}
	if quoted, is := strings.CutPrefix(rest, `"`); is {
		var b strings.Builder
		for i := 0; i < len(quoted); i++ {
			switch quoted[i] {
			case '"':
				return name, b.String(), quoted[i+1:], true
			case '\\':
				if i++; i == len(quoted) {
					return "", "", "", false
				}
			}
			b.WriteByte(quoted[i])
		}
		return "", "", "", false
	}
	end := strings.IndexAny(rest, " \t,;")
	if end < 0 {
		end = len(rest)
	}
	return name, rest[:end], rest[end:], true
}
