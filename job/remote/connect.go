package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	reconnectWait = 500 * time.Millisecond
	bufferedBytes = 4 << 20          // of what is published while the connection is down
	keepMessages  = 24 * time.Hour   // what nobody took away: of processes that ended
	dedupe        = 2 * time.Minute  // within which NATS drops a job that is published twice
	callTimeout   = 10 * time.Second // of one call to NATS
)

// Options say how to connect to NATS. The zero value of everything but URL is no such thing.
type Options struct {
	URL string // nats:// or tls://, with commas between several
	// Files: of credentials as nsc writes them, of the seed of an nkey, of a token, of the authorities that sign the server's
	// certificate, and of the certificate and key of this client.
	Creds, NKey, Token, CA, Cert, Key string

	Name string       // of the connection, for the server's reports
	Log  *slog.Logger // nil discards

	embedded *Embedded
}

// Conn is a connection to NATS, which comes back by itself when it is lost.
type Conn struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log *slog.Logger
}

// Connect connects to NATS, and fails if that can't be reached now.
func Connect(o Options) (*Conn, error) {
	c := &Conn{log: o.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	list, err := o.natsOptions(c.log)
	if err != nil {
		return nil, err
	}
	if c.nc, err = nats.Connect(o.URL, list...); err != nil {
		return nil, fmt.Errorf("remote: NATS at %s: %w", WithoutSecrets(o.URL), err)
	}
	if c.js, err = jetstream.New(c.nc, jetstream.WithDefaultTimeout(callTimeout)); err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("remote: NATS at %s: %w", WithoutSecrets(o.URL), err)
	}
	return c, nil
}

// WithoutSecrets leaves users, passwords and tokens out of URLs of NATS with commas between them, for people.
func WithoutSecrets(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		scheme, rest, found := strings.Cut(strings.TrimSpace(u), "://")
		if !found {
			rest = scheme
		}
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = rest[at+1:]
		}
		if found {
			rest = scheme + "://" + rest
		}
		list[i] = rest
	}
	return strings.Join(list, ",")
}

func (o Options) natsOptions(log *slog.Logger) ([]nats.Option, error) {
	list := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectBufSize(bufferedBytes),
		nats.Timeout(callTimeout), nats.PingInterval(20 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // else it was closed
				log.Warn("the connection to NATS is lost", slog.String("error", err.Error()))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS again", slog.String("server", nc.ConnectedUrlRedacted()))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			log.Warn("NATS reports an error", slog.String("error", err.Error()), slog.String("subject", subject))
		}),
	}
	if o.embedded != nil {
		list = append(list, nats.InProcessServer(o.embedded.server))
	}
	if o.Token != "" {
		token, err := readToken(o.Token)
		if err != nil {
			return nil, err
		}
		list = append(list, nats.Token(token))
	}
	if o.Creds != "" {
		list = append(list, nats.UserCredentials(o.Creds))
	}
	if o.NKey != "" {
		byKey, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("remote: the nkey in %s: %w", o.NKey, err)
		}
		list = append(list, byKey)
	}
	if o.CA != "" {
		list = append(list, nats.RootCAs(o.CA))
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, fmt.Errorf("remote: the certificate is %q and the key %q: must both be given or none", o.Cert, o.Key)
	}
	if o.Cert != "" {
		list = append(list, nats.ClientCert(o.Cert, o.Key))
	}
	return list, nil
}

// readToken reads the secret that clients and server share.
func readToken(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("remote: the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("remote: the token: %s is empty", file)
	}
	return token, nil
}

// Close ends the connection, after what was published.
func (c *Conn) Close() error {
	err := c.nc.FlushTimeout(time.Second)
	c.nc.Close()
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrTimeout) { // nobody hears the rest
		err = nil
	}
	return err
}

// connected reports whether NATS can be reached as far as is known.
func (c *Conn) connected() bool { return c.nc.IsConnected() }

// publish sends a message that may be lost.
func (c *Conn) publish(subject string, v any) {
	data, err := encode(v)
	if err == nil && c.connected() && int64(len(data)) <= c.nc.MaxPayload() {
		err = c.nc.Publish(subject, data)
	}
	if err != nil {
		c.log.Warn("a message is not sent", slog.String("subject", subject), slog.String("error", err.Error()))
	}
}

// stream is the work queue, made if missing. One that was made otherwise, as with replicas, is taken as it is.
func (c *Conn) stream(ctx context.Context) (jetstream.Stream, error) {
	s, err := c.js.Stream(ctx, streamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = c.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: streamName, Description: "goxl: jobs for workers", Subjects: []string{workSubject + "*"},
			Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, MaxAge: keepMessages, Duplicates: dedupe,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("remote: the stream %s: %w", streamName, err)
	}
	return s, nil
}

// objects are the images under way, in a store made if missing.
func (c *Conn) objects(ctx context.Context) (jetstream.ObjectStore, error) {
	s, err := c.js.ObjectStore(ctx, bucketName)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		s, err = c.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: bucketName, Description: "goxl: images under way", Storage: jetstream.FileStorage, TTL: keepMessages,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("remote: the object store %s: %w", bucketName, err)
	}
	return s, nil
}

// remove deletes images from the object store. What can't be deleted ages out.
func (c *Conn) remove(store jetstream.ObjectStore, names ...string) {
	for _, name := range names {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		err := store.Delete(ctx, name)
		cancel()
		if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			c.log.Debug("an image stays in the object store", slog.String("name", name), slog.String("error", err.Error()))
		}
	}
}
