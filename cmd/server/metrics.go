package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"

	"github.com/goxl/goxl/server"
)

// What -metrics says beside an address.
const (
	metricsOn  = "on"
	metricsOff = "off"
)

// metricsFlag is -metrics.
func metricsFlag(fs *flag.FlagSet) *string {
	value := metricsOn
	fs.Func("metrics", "where Prometheus reads metrics, a `place`: on, the default, is GET /metrics on -addr; off is nowhere; host:port is GET /metrics on a listener of its own, which answers whoever reaches it", func(s string) error {
		if _, port, err := net.SplitHostPort(s); s != metricsOn && s != metricsOff && (err != nil || port == "") {
			return errors.New("must be on, off or host:port")
		}
		value = s
		return nil
	})
	return &value
}

// serveMetrics answers at an address that is neither on nor off, until the function that it returns is called.
func serveMetrics(s *server.Server, at string, log *slog.Logger) (end func(), err error) {
	if at == metricsOn || at == metricsOff {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("-metrics: %w", err)
	}
	log.Info("metrics", slog.String("at", "http://"+l.Addr().String()+"/metrics"))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.ServeMetrics(ctx, l); err != nil { // images are computed all the same
			log.Error("metrics are not served any more", slog.String("error", err.Error()))
		}
	}()
	return func() {
		cancel()
		<-ended
	}, nil
}
