package main

import (
	"cmp"
	"errors"
	"flag"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/job/remote"
	"github.com/goxl/goxl/server"
)

// What -role says.
const (
	roleAll    = "all"
	roleAPI    = "api"
	roleWorker = "worker"
)

// embedded is what -nats says for a NATS server in this process.
const embedded = "embedded"

// roles are the flags that say what this process does of a server that is spread over several.
type roles struct {
	role, nats, listen string
	creds, nkey, token string
	ca, cert, key      string
}

func (r *roles) register(fs *flag.FlagSet) {
	r.role = roleAll
	fs.Func("role", "what this process does, a `name`: all, the default, answers requests and computes; api answers requests and leaves computing to workers; worker computes for the servers at -nats, by its own -request-timeout, and needs nothing but the models, embeddings and files of the folders (-lora-dir and so on) that they name; api has no device to measure, so that its -max-pixels 0 is 2048×2048 and its -max-steps 0 is 200", func(s string) error {
		r.role = s
		return oneOf([]string{roleAll, roleAPI, roleWorker}, s)
	})
	fs.StringVar(&r.nats, "nats", "", "`url` of NATS with JetStream (nats:// or tls://, with commas between several), over which workers get jobs; embedded runs one in this process, in the folder nats beside the journal; without it there are no workers")
	fs.StringVar(&r.listen, "nats-listen", "", "`host:port` where -nats embedded listens for workers; without it nobody else can connect")
	fs.StringVar(&r.creds, "nats-creds", "", "`file` of credentials for NATS, as nsc writes it")
	fs.StringVar(&r.nkey, "nats-nkey", "", "`file` of the seed of an nkey for NATS")
	fs.StringVar(&r.token, "nats-token", "", "`file` of a secret that clients of NATS have in common; -nats embedded asks for it")
	fs.StringVar(&r.ca, "nats-ca", "", "`file` of the authorities that the certificate of NATS is signed by, in PEM; with -nats embedded those of its clients, which must have one then")
	fs.StringVar(&r.cert, "nats-cert", "", "`file` of the certificate for NATS, in PEM: with -nats embedded the server's, else this client's")
	fs.StringVar(&r.key, "nats-key", "", "`file` of the private key of -nats-cert, in PEM")
}

// ofAPI are flags that mean nothing to a worker, ofDevices those that mean nothing without devices.
var (
	ofAPI = []string{
		"addr", "images", "journal", "keep", "keep-bytes", "prompt-style", "preset", "allowed-hosts", "queue", "batch", "max-pixels", "max-steps",
		"max-batch", "watermark", "tokens", "insecure", "cors", "base-path", "trusted-proxies", "tls-cert", "tls-key", "metrics",
	}
	ofDevices = []string{"device", "precision", "gpu-memory", "memory", "threads", "stall-timeout", "taesd", "preview-taesd", "preview-method", "models-memory", "batch"}
	ofNATS    = []string{"nats-listen", "nats-creds", "nats-nkey", "nats-token", "nats-ca", "nats-cert", "nats-key"}
)

// check refuses flags that do not go together.
func (r *roles) check(fs *flag.FlagSet) error {
	given := func(names []string) (name string) {
		fs.Visit(func(f *flag.Flag) {
			if slices.Contains(names, f.Name) {
				name = cmp.Or(name, f.Name)
			}
		})
		return name
	}
	switch {
	case r.role != roleAll && r.nats == "":
		return cli.Usagef("-role %s: needs -nats", r.role)
	case r.nats == "" && given(ofNATS) != "":
		return cli.Usagef("-%s: needs -nats", given(ofNATS))
	case r.role == roleWorker && given(ofAPI) != "":
		return cli.Usagef("-%s: is of the servers that answer requests, not of -role worker", given(ofAPI))
	case r.role == roleAPI && given(ofDevices) != "":
		return cli.Usagef("-%s: is of workers, not of -role api, which has no device", given(ofDevices))
	case (r.cert == "") != (r.key == ""):
		return cli.Usagef("-nats-cert %q, -nats-key %q: must both be given or none", r.cert, r.key)
	case r.nats != embedded && r.listen != "":
		return cli.Usagef("-nats-listen: is of -nats embedded")
	case r.nats != embedded:
		return nil
	case r.role == roleWorker:
		return cli.Usagef("-nats embedded: is of the server that answers requests; a worker connects to it by -nats nats://host:port")
	case r.role == roleAPI && r.listen == "":
		return cli.Usagef("-role api -nats embedded: needs -nats-listen, else no worker can connect")
	case r.creds != "":
		return cli.Usagef("-nats-creds: is of a NATS that runs apart; -nats embedded takes -nats-token")
	case r.nkey != "":
		return cli.Usagef("-nats-nkey: is of a NATS that runs apart; -nats embedded takes -nats-token")
	case r.ca != "" && r.cert == "":
		return cli.Usagef("-nats-ca: with -nats embedded needs -nats-cert and -nats-key")
	}
	return r.checkListen()
}

// checkListen refuses to let everybody on the network give and take jobs.
func (r *roles) checkListen() error {
	if r.listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(r.listen)
	if err != nil {
		return cli.Usagef("-nats-listen %s: must be host:port", r.listen)
	}
	ip := net.ParseIP(host)
	if local := strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback(); !local && r.token == "" && r.ca == "" {
		return cli.Usagef("-nats-listen %s: is no loopback address: needs -nats-token or -nats-ca, so that not everybody can give and take jobs", r.listen)
	}
	return nil
}

// connect connects to a NATS that runs apart.
func (r *roles) connect(log *slog.Logger) (*remote.Conn, error) {
	return remote.Connect(remote.Options{URL: r.nats, Creds: r.creds, NKey: r.nkey, Token: r.token, CA: r.ca, Cert: r.cert, Key: r.key, Name: "goxl " + r.role, Log: log})
}

// remotes are the workers of a server, and the way to them; the zero value is none.
type remotes struct {
	nats *remote.Embedded // nil if it runs apart
	conn *remote.Conn
	api  *remote.API
}

// remotes opens the way to the workers, if there is to be one.
func (o options) remotes(log *slog.Logger) (r remotes, err error) {
	switch o.nats {
	case "":
		return r, nil
	case embedded:
		folder := filepath.Join(filepath.Dir(cmp.Or(o.journal, filepath.Join(o.images, "jobs.db"))), "nats")
		r.nats, err = remote.StartEmbedded(remote.EmbeddedOptions{Folder: folder, Listen: o.listen, Token: o.roles.token, Cert: o.roles.cert, Key: o.roles.key, CA: o.roles.ca})
		if err != nil {
			return r, err
		}
		log.Info("NATS", slog.String("address", r.nats.URL()), slog.String("folder", folder))
		r.conn, err = r.nats.Connect(remote.Options{Name: "goxl " + o.role, Token: o.token, Log: log})
	default:
		r.conn, err = o.connect(log)
	}
	if err != nil {
		return r, errors.Join(err, r.Close())
	}
	r.api = remote.NewAPI(r.conn, remote.APIOptions{Local: o.role == roleAll, Fingerprints: o.fingerprints(log), Log: log})
	return r, nil
}

// forServer is the workers as the server has them, nil for none.
func (r remotes) forServer() server.Remote {
	if r.api == nil {
		return nil // not a nil *remote.API in a non-nil interface
	}
	return r.api
}

// Close closes the way to the workers, after the server.
func (r remotes) Close() error {
	var errs []error
	if r.conn != nil {
		errs = append(errs, r.conn.Close())
	}
	if r.nats != nil {
		errs = append(errs, r.nats.Close())
	}
	return errors.Join(errs...)
}
