package server

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

var hostName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$`)

// ParseHosts reads a list as Config.AllowedHosts: host names and addresses, with commas between them. What a Host
// header without its port can never be is an error.
func ParseHosts(list string) (names []string, err error) {
	if list == "" {
		return nil, nil
	}
	names = strings.Split(list, ",")
	_, err = hostSet(names)
	return names, err
}

func hostSet(names []string) (map[string]bool, error) {
	hosts := map[string]bool{}
	for _, name := range names {
		_, err := netip.ParseAddr(strings.Trim(name, "[]"))
		if err != nil && !hostName.MatchString(name) {
			return nil, fmt.Errorf("%q: must be a host name or address, without scheme, port or path", name)
		}
		hosts[canonicalHost(name)] = true
	}
	return hosts, nil
}

// canonicalHost is the host of a Host header, without the port, in the one spelling that is compared.
func canonicalHost(header string) string {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if address, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return address.Unmap().String()
	}
	return host
}

// isLoopback reports whether a host that canonicalHost gave is this machine, whoever resolves it.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && address.IsLoopback()
}

// checkHost refuses a request by another name than this machine's, on a server that only this machine can reach: a web
// page whose name was made to resolve to a loopback address would read the answers otherwise (DNS rebinding).
func (s *Server) checkHost(header string) error {
	if !s.loopback.Load() {
		return nil
	}
	if host := canonicalHost(header); !isLoopback(host) && !s.hosts[host] {
		return &failure{kind: foreignHost, err: fmt.Errorf("the Host header is %.100q", header)}
	}
	return nil
}

// onLoopback reports whether only this machine can reach a listener.
func onLoopback(l net.Listener) bool {
	address, ok := l.Addr().(*net.TCPAddr)
	return ok && address.IP.IsLoopback()
}
