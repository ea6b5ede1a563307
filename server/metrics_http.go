package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// methods are those that have a label of their own; a client may make up others.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

// unrouted is the route of requests for what there is not.
const unrouted = "none"

// route is the pattern of a request's route without its method: never the path, which clients make up.
func (x *exchange) route() string {
	_, path, found := strings.Cut(x.pattern, " ")
	if !found {
		path = x.pattern
	}
	if path == "" || path == "/" {
		return unrouted
	}
	return path
}

// count counts a request that was answered.
func (x *exchange) count(m *metrics) {
	method, code := x.r.Method, strconv.Itoa(x.status)
	if !slices.Contains(methods, method) {
		method = "other"
	}
	if x.status == 0 {
		code = "none" // the connection was cut
	}
	m.requests.WithLabelValues(x.route(), method, code).Inc()
	m.took.WithLabelValues(x.route(), method).Observe(time.Since(x.began).Seconds())
}

// ServeMetrics answers GET /metrics, and nothing else, on a listener of its own until ctx ends. It closes the listener.
// Whoever reaches it may read: it is for an address that only Prometheus does.
func (s *Server) ServeMetrics(ctx context.Context, l net.Listener) error {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", s.metrics.handler())
	h := &http.Server{
		Handler: routes, ReadTimeout: headerTimeout, WriteTimeout: 2 * headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = h.Close() // nobody waits for an answer that is worth anything then
	})
	err := h.Serve(l)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
