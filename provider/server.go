package provider

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// Bounds on connections. Gatekeeper sends a few KiB at once over a cluster's network.
const (
	headerTime = 2 * time.Second // also bounds the handshake
	// readTime bounds what is not read by an operation, whose own deadline holds for its request.
	readTime = 5 * time.Second
	// writeReserve is what writing an answer may take after its deadline.
	writeReserve = 5 * time.Second
	// idleTime is longer than the 90 s for which Gatekeeper keeps a connection, so that it is never the server who
	// closes one that a request is just sent on.
	idleTime       = 120 * time.Second
	maxHeaderBytes = 16 << 10
	// maxScrapes bounds the answers with metrics under way, 100 KiB each: any pod can ask for them.
	maxScrapes = 8
)

// A Server listens for Gatekeeper, and for probes and metrics on an address of their own.
type Server struct {
	Provider *Provider
	TLS      *TLS
	Log      *zap.Logger
	// Address is for Gatekeeper, HealthAddress for /healthz, /readyz and /metrics.
	Address, HealthAddress string
	// ShutdownDelay is how long requests are still taken after /readyz has said no: endpoints take a while to change.
	ShutdownDelay time.Duration
	// Listening, if not nil, is told the addresses listened on.
	Listening func(address, health net.Addr)
}

// Run listens and serves until ctx ends, then says so on /readyz, waits, and ends without dropping a request.
func (s *Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen for Gatekeeper: %w", err)
	}
	defer listener.Close()
	health, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.HealthAddress)
	if err != nil {
		return fmt.Errorf("listen for probes and metrics: %w", err)
	}
	defer health.Close()

	var ending atomic.Bool
	errorLog := log.New(&connectionLog{log: s.Log.Named("http")}, "", 0)
	main := s.gatekeeper(&ending, errorLog)
	probes := &http.Server{
		Handler:           s.probes(&ending),
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeReserve, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes,
		ConnState: new(visitors).change, ErrorLog: errorLog,
	}
	failed := make(chan error, 2)
	go func() { failed <- main.ServeTLS(listener, "", "") }()
	go func() { failed <- probes.Serve(health) }()
	if s.Listening != nil {
		s.Listening(listener.Addr(), health.Addr())
	}
	s.Log.Info("listening", zap.Stringer("address", listener.Addr()), zap.Stringer("healthAddress", health.Addr()))

	select {
	case err := <-failed:
		return errors.Join(err, main.Close(), probes.Close())
	case <-ctx.Done():
	}
	ending.Store(true)
	s.Log.Info("ending", zap.Duration("delay", s.ShutdownDelay))
	time.Sleep(s.ShutdownDelay)
	drain, cancel := context.WithTimeout(context.Background(), s.longest()+writeReserve)
	defer cancel()
	return errors.Join(main.Shutdown(drain), probes.Shutdown(drain))
}

// longest is the longest deadline of an operation.
func (s *Server) longest() time.Duration {
	return max(s.Provider.options.VerifyTimeout, s.Provider.options.MutateTimeout)
}

// gatekeeper is the server for Gatekeeper alone.
func (s *Server) gatekeeper(ending *atomic.Bool, errorLog *log.Logger) *http.Server {
	guarded := s.TLS.Guard(s.Provider.Handler(), s.Provider.refuse(http.StatusForbidden, "the client certificate is no longer accepted"))
	return &http.Server{
		Handler:           closing(ending, guarded),
		TLSConfig:         s.TLS.Config(),
		ConnContext:       s.TLS.ConnContext,
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes,
		WriteTimeout: readTime + s.longest() + writeReserve,
		ConnState:    new(visitors).change,
		ErrorLog:     errorLog,
	}
}

// closing closes each connection with its answer once the end has begun: one that is closed while it is idle may have a
// request on its way.
func closing(ending *atomic.Bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ending.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// probes serves what the kubelet and Prometheus ask; neither has Gatekeeper's certificate.
func (s *Server) probes(ending *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case ending.Load():
			http.Error(w, "ending", http.StatusServiceUnavailable)
		case !s.Provider.Ready():
			http.Error(w, "no configuration is loaded yet", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Provider.options.Metrics.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	return mux
}
