package main

import (
	"flag"
	"fmt"
	"net"
	"net/netip"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/server"
)

// access are the flags that say who may use the server, and how.
type access struct {
	hosts    []string
	tokens   string
	insecure bool
	origins  []string
	basePath string
	proxies  []netip.Prefix
	cert     string
	key      string
}

func (a *access) register(fs *flag.FlagSet) {
	fs.Func("allowed-hosts", "further host `names` and addresses, with commas between them, that requests may have in their Host header while -addr is a loopback address; others than this machine's are answered 403", func(list string) (err error) {
		a.hosts, err = server.ParseHosts(list)
		return err
	})
	fs.StringVar(&a.tokens, "tokens", "", "`file` of who may use the server, a line for each user, as \"server token NAME\" prints it: clients send their token as Authorization: Bearer TOKEN, or by Basic with the name and the token; it is read again when it changes; without it everyone may who can reach -addr")
	fs.BoolVar(&a.insecure, "insecure", false, "listen where other machines can reach it without -tokens, so that everyone there may use the server")
	fs.Func("cors", "`origins` whose web pages may use the server, with commas between them, as https://example.com; * is every one, and needs -tokens", func(list string) (err error) {
		a.origins, err = server.ParseOrigins(list)
		return err
	})
	fs.Func("base-path", "`path` that all routes are below, as /x, for a reverse proxy that serves other things too", func(path string) (err error) {
		a.basePath, err = server.ParseBasePath(path)
		return err
	})
	fs.Func("trusted-proxies", "`networks` and addresses of reverse proxies, with commas between them, as 10.0.0.0/8, whose X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded, are believed; those of others are not", func(list string) (err error) {
		a.proxies, err = server.ParsePrefixes(list)
		return err
	})
	fs.StringVar(&a.cert, "tls-cert", "", "`file` of a certificate and its chain, PEM, to speak HTTPS (HTTP/1.1 over TLS 1.2 and 1.3) with -tls-key; both are read again when they change")
	fs.StringVar(&a.key, "tls-key", "", "`file` of the certificate's key, PEM")
}

// check refuses flags that do not go together.
func (a *access) check(address string) error {
	switch {
	case a.cert == "" && a.key != "":
		return cli.Usagef("-tls-key %s: has no meaning without -tls-cert", a.key)
	case a.cert != "" && a.key == "":
		return cli.Usagef("-tls-cert %s: must come with -tls-key", a.cert)
	case a.tokens == "" && len(a.origins) > 0 && a.origins[0] == "*":
		return cli.Usagef("-cors *: must name origins without -tokens, or every web page could use the server")
	case a.tokens != "" || a.insecure:
		return nil
	}
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", address, err)
	}
	if !to.IP.IsLoopback() {
		return cli.Usagef("-addr %s: other machines can reach it: must be a loopback address, or come with -tokens, or with -insecure to let everyone in", address)
	}
	return nil
}

// fill gives the flags to a configuration.
func (a *access) fill(c *server.Config) {
	c.AllowedHosts, c.Tokens, c.CORS, c.BasePath = a.hosts, a.tokens, a.origins, a.basePath
	c.TrustedProxies, c.TLSCert, c.TLSKey = a.proxies, a.cert, a.key
}

// url is where the server answers.
func (a *access) url(address net.Addr) string {
	scheme := "http://"
	if a.cert != "" {
		scheme = "https://"
	}
	return scheme + address.String() + a.basePath
}
