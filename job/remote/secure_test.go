package remote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// keep writes a file, and gives its path.
func keep(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority signs certificates.
type authority struct {
	file string // of its own certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{keep(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), template, key}
}

// sign makes a certificate of 127.0.0.1, for a server and for a client, and gives the files of it and of its key.
func (a *authority) sign(t *testing.T) (cert, secret string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "goxl"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return keep(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		keep(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// newKey makes a key pair of a kind, and gives its public key.
func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return pair, public
}

// operated makes a server trust an operator, and gives a file of credentials for a user of an account of that, as nsc
// does.
func operated(t *testing.T, so *server.Options) (creds string) {
	t.Helper()
	operator, operatorKey := newKey(t, nkeys.CreateOperator)
	oc := jwt.NewOperatorClaims(operatorKey)
	encoded, err := oc.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	if oc, err = jwt.DecodeOperatorClaims(encoded); err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	account := func(streams bool) (pair nkeys.KeyPair, public string) {
		pair, public = newKey(t, nkeys.CreateAccount)
		c := jwt.NewAccountClaims(public)
		if streams {
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
		}
		encoded, err := c.Encode(operator)
		if err == nil {
			err = resolver.Store(public, encoded)
		}
		if err != nil {
			t.Fatal(err)
		}
		return pair, public
	}
	_, system := account(false)
	of, _ := account(true)
	user, userKey := newKey(t, nkeys.CreateUser)
	encoded, err = jwt.NewUserClaims(userKey).Encode(of)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := jwt.FormatUserConfig(encoded, seed)
	if err != nil {
		t.Fatal(err)
	}
	so.TrustedOperators, so.AccountResolver, so.SystemAccount = []*jwt.OperatorClaims{oc}, resolver, system
	return keep(t, "user.creds", data)
}

// newSecured runs a NATS server that is not goxl's own, and gives what connects to it by some options.
func newSecured(t *testing.T, so *server.Options, client Options) *broker {
	t.Helper()
	so.Host, so.Port, so.NoSigs, so.NoLog, so.JetStream, so.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, true, t.TempDir()
	s, err := server.NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	b := &broker{t: t, server: &Embedded{s}, client: client}
	t.Cleanup(b.stop)
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		t.Fatal("the server does not start")
	}
	b.listen = s.Addr().String()
	return b
}

// Jobs go over a NATS that asks for a user, a token, an nkey, credentials or certificates, and over none without those.
func TestSecured(t *testing.T) {
	ca, strangers := newAuthority(t), newAuthority(t)
	cert, key := ca.sign(t)
	otherCert, otherKey := strangers.sign(t)
	user, public := newKey(t, nkeys.CreateUser)
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	tlsOptions := func(verify bool) *server.Options {
		config, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: cert, KeyFile: key, CaFile: ca.file, Verify: verify, Timeout: 5})
		if err != nil {
			t.Fatal(err)
		}
		return &server.Options{TLS: true, TLSConfig: config, TLSVerify: verify, TLSTimeout: 5}
	}
	withPassword := tlsOptions(false)
	withPassword.Username, withPassword.Password = "anna", "secret"
	subjects := &server.SubjectPermission{Allow: []string{"goxl.>", "_INBOX.>", "$JS.>", "$O.goxl-images.>"}}
	few := &server.Options{Users: []*server.User{{Username: "anna", Password: "secret", Permissions: &server.Permissions{Publish: subjects, Subscribe: subjects}}}}
	byOperator := &server.Options{}
	creds := operated(t, byOperator)
	for name, c := range map[string]struct {
		server *server.Options
		scheme string
		client Options
		bad    Options
		says   string
	}{
		"password":            {&server.Options{Username: "anna", Password: "secret"}, "nats://anna:secret@", Options{}, Options{URL: "nats://anna:wrong@"}, "Authorization Violation"},
		"few subjects":        {few, "nats://anna:secret@", Options{}, Options{}, "Authorization Violation"},
		"token":               {&server.Options{Authorization: "secret"}, "nats://", Options{Token: keep(t, "token", []byte("secret\n"))}, Options{}, "Authorization Violation"},
		"nkey":                {&server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}}, "nats://", Options{NKey: keep(t, "seed", seed)}, Options{}, "Authorization Violation"},
		"credentials":         {byOperator, "nats://", Options{Creds: creds}, Options{}, "Authorization Violation"},
		"TLS and password":    {withPassword, "tls://anna:secret@", Options{CA: ca.file}, Options{}, "unknown authority"},
		"certificates":        {tlsOptions(true), "tls://", Options{CA: ca.file, Cert: cert, Key: key}, Options{CA: ca.file}, "tls"},
		"others' certificate": {tlsOptions(true), "tls://", Options{CA: ca.file, Cert: cert, Key: key}, Options{CA: ca.file, Cert: otherCert, Key: otherKey}, "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSecured(t, c.server, c.client)
			b.client.URL = c.scheme + b.listen
			bad := c.bad
			if bad.URL == "" {
				bad.URL = strings.ReplaceAll(c.scheme, "anna:secret@", "")
			}
			bad.URL += b.listen
			if conn, err := Connect(bad); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "wrong") {
				t.Errorf("%v, want %q", err, c.says)
				if err == nil {
					_ = conn.Close()
				}
			}
			f := newFront(t, b)
			newHand(t, b, handOptions{name: "one", engine: &sleeper{}})
			f.done(f.submit(nil))
		})
	}
}

// goxl's own NATS server speaks TLS, and asks for certificates where it has authorities for them.
func TestEmbeddedTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.sign(t)
	for _, o := range []EmbeddedOptions{{}, {CA: ca.file}} {
		o.Folder, o.Listen, o.Cert, o.Key, o.anyFileSystem = t.TempDir(), "127.0.0.1:0", cert, key, true
		s, err := StartEmbedded(o)
		if err != nil {
			t.Fatal(err)
		}
		b := &broker{t: t, server: s, listen: s.server.Addr().String()}
		t.Cleanup(b.stop)
		if conn, err := Connect(Options{URL: s.URL(), CA: ca.file}); (err == nil) != (o.CA == "") {
			t.Errorf("without a certificate: %v", err)
		} else if err == nil {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
		b.client = Options{URL: s.URL(), CA: ca.file, Cert: cert, Key: key}
		f := newFront(t, b)
		newHand(t, b, handOptions{name: "one", engine: &sleeper{}})
		f.done(f.submit(nil))
	}
}

// What is said of a URL has no secret of it.
func TestWithoutSecrets(t *testing.T) {
	for urls, want := range map[string]string{
		"nats://a:1":                          "nats://a:1",
		"nats://anna:se@cret@a:1,tls://b":     "nats://a:1,tls://b",
		"token@a:1, nats://token@b:2,a b:@%%": "a:1,nats://b:2,%%",
	} {
		if got := WithoutSecrets(urls); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
