package upheaval

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/hostile/lab"
)

// probeTime is how often readiness is asked for. A cluster asks more seldom, and gives a pod that ends more time for it.
const probeTime = 50 * time.Millisecond

// An instance is one process of the program under test, as a pod.
type instance struct {
	*lab.Program
	ready atomic.Bool
}

// A service is what a Service of Kubernetes is: a new connection goes to one of the instances that are ready, in turn, and a
// connection that is open stays where it is.
type service struct {
	mu        sync.Mutex
	instances []*instance
	next      int
	probes    sync.WaitGroup
	stop      context.CancelFunc
	ctx       context.Context
}

func newService() *service {
	s := &service{}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// add has an instance asked whether it is ready from now on, and waits until it is.
func (s *service) add(ctx context.Context, p *lab.Program) (*instance, error) {
	i := &instance{Program: p}
	became := make(chan struct{})
	s.probes.Go(func() { s.probe(i, became) })
	select {
	case <-became:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instances = append(s.instances, i)
	return i, nil
}

// probe asks for readiness until the instance has ended.
func (s *service) probe(i *instance, became chan<- struct{}) {
	client := &http.Client{Timeout: clientTimeout}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(probeTime)
	defer tick.Stop()
	for said := false; ; {
		// A probe that fails to be answered takes no pod out of its Service by itself: the kubelet wants three of them.
		if resp, err := client.Get("http://" + i.HealthAddress + "/readyz"); err == nil { //nolint:noctx // the client has a timeout
			_ = resp.Body.Close()
			ready := resp.StatusCode == http.StatusOK
			if i.ready.Store(ready); ready && !said {
				said = true
				close(became)
			}
		}
		select {
		case <-tick.C:
		case <-i.Ended():
			i.ready.Store(false)
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// remove takes out an instance that has ended.
func (s *service) remove(gone *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range s.instances {
		if one == gone {
			s.instances = append(s.instances[:i:i], s.instances[i+1:]...)
		}
	}
}

// all are the instances that there are.
func (s *service) all() []*instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*instance(nil), s.instances...)
}

// close ends the probes.
func (s *service) close() {
	s.stop()
	s.probes.Wait()
}

// errNoEndpoints is what a Service without a ready pod does with a connection.
var errNoEndpoints = errors.New("connection refused: no instance is ready")

// dial connects to the next instance that is ready.
func (s *service) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	s.mu.Lock()
	address := ""
	for range s.instances {
		s.next++
		if one := s.instances[s.next%len(s.instances)]; one.ready.Load() {
			address = one.Address
			break
		}
	}
	s.mu.Unlock()
	if address == "" {
		return nil, errNoEndpoints
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// A gatekeeper asks as Gatekeeper 3.22 and later does: one client for the Provider that keeps ten idle connections for 90 s,
// trusts a bundle of CAs, and takes its certificate anew with each handshake. It sends each request once: what is sent on a
// connection that the server is just closing is lost.
type gatekeeper struct {
	*http.Client
	certificate atomic.Pointer[tls.Certificate]
}

// clientTimeout is the Provider's.
const clientTimeout = 5 * time.Second

func newGatekeeper(dial func(ctx context.Context, network, address string) (net.Conn, error), roots *x509.CertPool) *gatekeeper {
	g := &gatekeeper{}
	g.Client = &http.Client{Timeout: clientTimeout, Transport: &http.Transport{
		DialContext: dial, MaxIdleConnsPerHost: 10, IdleConnTimeout: 90 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "localhost", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return g.certificate.Load(), nil
		}},
	}}
	return g
}

// show has it show the client certificate of these from its next handshake on.
func (g *gatekeeper) show(p *fixture.PKI) error {
	pair, err := tls.LoadX509KeyPair(p.ClientCertFile, p.ClientKeyFile)
	if err != nil {
		return err
	}
	g.certificate.Store(&pair)
	return nil
}
