package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
	"github.com/goxl/goxl/worker"
)

// Config says what a server does. Specs.Base, Load, Images and Journal are required.
type Config struct {
	// Specs are the configurations of the models that Load opens. Without a refiner, what needs one is answered 501.
	Specs engine.Specs
	// Name is what requests call that model; "" is the last part of its path. It is the one of requests that name none.
	Name string
	// Models are further models that requests may name. With any, the engines that Load opens are of them too, by their
	// names: see [engine.Keeper].
	Models []Model
	// Devices are the names of the devices, until an engine has another DeviceName. Each has a worker of its own; none is
	// one device without a name.
	Devices []string
	// Load opens the models on a device: on all at once when the server starts, and on one again after Lost. It may be nil
	// if there is a Remote: then the server has no devices of its own.
	Load func(device int) (engine.Engine, error)
	// Remote gives jobs to devices of other processes too; nil is none.
	Remote Remote

	// TextualInversions are embeddings that the prompts of every request may name, with vectors for every text encoder
	// of the models.
	TextualInversions []sdxl.TextualInversion
	PromptStyle       prompt.Style // of requests that give none; "" is plain
	// Preset is that of requests for a base that give none; "" chooses by a LoRA's or the model's file, as sdxl.Request
	// does. A request that asks for none has none.
	Preset string

	Schedulers []string // names that a request may ask for
	LoRADir    string   // folder of the adapters that requests may name; "" has none
	// Folders of what requests may name beside: ControlNets and T2I-Adapters, IP-Adapters with their image encoders,
	// upscalers; "" has none.
	ControlDir, IPAdapterDir, UpscalerDir string

	Images  string // folder of the images, made if missing
	Journal string // file of the jobs, made if missing; one server has it at a time
	// Keep is how long jobs that have ended, and images, are kept; 0 is for ever. KeepBytes is how many bytes the images of
	// jobs may take, beyond which the oldest jobs go with theirs; 0 is no limit.
	Keep      time.Duration
	KeepBytes int64
	Queue     int    // requests that may wait while every device computes; 0 lets none wait
	Batch     int    // jobs that wait, and can share their steps, which a device of this process computes together; 0 is 1
	Watermark bool   // diffusers' invisible watermark
	Version   string // for the PNG text
	// Tracer makes spans of requests and jobs; nil makes none. It must not block: the queue waits for it.
	Tracer  trace.TracerProvider
	Metrics bool         // GET /metrics answers in Prometheus' form; see also Server.ServeMetrics
	Log     *slog.Logger // nil discards
	// AllowedHosts are host names and addresses that requests may name beside loopback ones, where Run listens on a
	// loopback address.
	AllowedHosts []string

	// Tokens is the file of who may use the server, as package auth has it; "" lets everyone who can reach it. It is read
	// again when it changes. Sessions of browsers are signed by the key in the file session.key beside Journal, made if
	// missing.
	Tokens string
	// CORS are origins whose web pages may use the server, as "https://example.com"; "*" is every one, and needs Tokens.
	CORS []string
	// BasePath is what the paths of all routes begin with, as "/x"; "" is nothing.
	BasePath string
	// TrustedProxies are networks of the proxies whose headers about clients count: X-Forwarded-For, -Proto, -Host and
	// -Prefix, and Forwarded.
	TrustedProxies []netip.Prefix
	// TLSCert and TLSKey are files of a certificate with its chain, and of its key, in PEM; "" is plain HTTP. They are read
	// again when they change.
	TLSCert, TLSKey string

	// What one request may ask for. Pixels and steps that are left open are limited to what takes RequestTimeout on the
	// slowest device, by the engines' Costs, and to 2048×2048 and 200 at most.
	MaxPixels      int           // 0 is open
	MaxSteps       int           // 0 is open
	MaxBatch       int           // images of one job; 0 is 1. The routes ask for 1
	RequestTimeout time.Duration // for a request to compute, from when it has its device, times the Batch it is in; 0 is none

	BodyTimeout time.Duration // for a request's body to arrive, or each 16 KiB of it; 0 is 30 s
	SendTimeout time.Duration // for a client to take 16 KiB of an answer, or the rest; 0 is 30 s
	Connections int           // that may be open; 0 is 1024, or more for a long queue, or half of what files the process may have
	Drain       time.Duration // for queued work once Run's context is done; 0 is a minute
}

// New checks the configuration, makes the folder of images, removes temporary files that a killed server left there,
// and fails if none can be written. The server has no model yet: see [Server.Load] and [Server.Run].
func New(c Config) (*Server, error) {
	switch {
	case c.Specs.Base == nil:
		return nil, errors.New("server: Specs.Base is nil: must be the configurations of the model")
	case c.Load == nil && c.Remote == nil:
		return nil, errors.New("server: Load is nil: must open the model")
	case c.Images == "":
		return nil, errors.New("server: Images is empty: must be a folder")
	case c.Journal == "":
		return nil, errors.New("server: Journal is empty: must be a file")
	case c.Queue < 0:
		return nil, fmt.Errorf("server: Queue is %d: must be 0 or more", c.Queue)
	case c.Keep < 0, c.KeepBytes < 0:
		return nil, fmt.Errorf("server: Keep is %v and KeepBytes %d: must be 0 or more", c.Keep, c.KeepBytes)
	case c.BodyTimeout < 0, c.Drain < 0:
		return nil, fmt.Errorf("server: BodyTimeout is %v and Drain %v: must be 0 or more", c.BodyTimeout, c.Drain)
	case c.SendTimeout < 0, c.Connections < 0:
		return nil, fmt.Errorf("server: SendTimeout is %v and Connections %d: must be 0 or more", c.SendTimeout, c.Connections)
	}
	if err := c.checkModels(); err != nil {
		return nil, err
	}
	if err := errors.Join(c.checkLimits(), c.checkDefaults()); err != nil {
		return nil, err
	}
	for _, folder := range []struct{ field, path string }{
		{"LoRADir", c.LoRADir}, {"ControlDir", c.ControlDir}, {"IPAdapterDir", c.IPAdapterDir}, {"UpscalerDir", c.UpscalerDir},
	} {
		if folder.path == "" {
			continue
		}
		if _, err := os.ReadDir(folder.path); err != nil {
			return nil, fmt.Errorf("server: %s: %w", folder.field, err)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 1
	}
	if c.BodyTimeout == 0 {
		c.BodyTimeout = 30 * time.Second
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = 30 * time.Second
	}
	waiting := c.Queue + max(1, len(c.Devices))
	if c.Connections == 0 {
		c.Connections = connections(openFiles(), waiting)
	}
	if most := mostAtWork(c.Connections); most < waiting {
		c.Log.Warn("too few connections for the queue: the limit of open files may be too low",
			slog.Int("connections", most), slog.Int("wanted", waiting))
	}
	if c.Drain == 0 {
		c.Drain = time.Minute
	}
	hosts, err := hostSet(c.AllowedHosts)
	if err != nil {
		return nil, fmt.Errorf("server: AllowedHosts has %w", err)
	}
	if _, err := ParseBasePath(c.BasePath); err != nil || strings.HasSuffix(c.BasePath, "/") {
		return nil, fmt.Errorf("server: BasePath is %q: must be empty, or a path as /x", c.BasePath)
	}
	s := newServer(c)
	s.hosts = hosts
	if err := s.openTLS(); err != nil {
		return nil, err
	}
	swept, err := s.store.Sweep()
	if err == nil {
		err = s.store.probe()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server: folder of images %s: %w", c.Images, err), s.store.Close())
	}
	if swept > 0 {
		c.Log.Info("temporary files of a server that was killed were removed", slog.Int("files", swept))
	}
	if err := s.openGuard(); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	if err := s.openJobs(); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

// openJobs takes up the journal, with the jobs of an earlier process that have not ended.
func (s *Server) openJobs() (err error) {
	c := s.config
	_, err = os.Stat(c.Journal)
	if c.Keep > 0 && errors.Is(err, fs.ErrNotExist) {
		if err := s.adoptImages(); err != nil {
			return fmt.Errorf("server: folder of images %s: %w", c.Images, err)
		}
	}
	if s.journal, err = job.OpenJournal(c.Journal, job.JournalOptions{}); err != nil {
		return fmt.Errorf("server: the journal of jobs: %w", err)
	}
	if s.queue, err = job.NewQueue(s.journal, job.QueueOptions{Capacity: c.Queue, Log: c.Log, Observe: s.observe}); err != nil {
		return errors.Join(fmt.Errorf("server: the journal of jobs: %w", err), s.journal.Close())
	}
	s.metrics.openedJobs()
	if c.Remote != nil {
		if err := c.Remote.Start(s.queue, s.store.Store); err != nil {
			s.queue.Close()
			return errors.Join(fmt.Errorf("server: remote devices: %w", err), s.journal.Close())
		}
	}
	s.pool = worker.NewPool(worker.Config{
		Source: worker.Local{Queue: s.queue, Images: s.store}, Devices: c.Devices, Load: c.Load, Loaded: s.loaded, Opened: s.costs.set, Kept: s.kept, Lost: s.lost,
		Shared: s.shared(), Resolve: s.resolveAgain, Elsewhere: s.able,
		Batch: c.Batch, Batched: s.metrics.batched,
		Timeout: c.RequestTimeout, TimeoutWords: timeoutWords(c.RequestTimeout), Version: c.Version, Log: c.Log,
	})
	return nil
}

// observe is called with every event of every job.
func (s *Server) observe(j *job.Job, e job.Event) {
	s.metrics.observe(j, e)
	s.traces.observe(j, e)
}

// kept is called with every attempt that gave images.
func (s *Server) kept(a worker.Attempt) {
	s.metrics.kept(a)
	s.traces.kept(a)
}
