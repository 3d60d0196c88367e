// Package lab makes a hostile world for the program: hosts whose every answer a script decides, over real TCP and TLS;
// registries that are correct until a script says otherwise; token servers, responders and a name resolver of the same kind;
// canaries, which listen where nobody may connect to; and secrets, which may be seen at their own hosts and nowhere else.
//
// It judges one thing alone: a lab that is closed says whether a canary was touched or a secret seen elsewhere, whatever was
// measured in it. What is measured, and what should come of it, is the matter of those who use it. Begin at New, Lab.Host,
// Registry, On and Lab.Start.
package lab

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A Lab is one hostile world. Its fields are not changed after New; its methods are safe for concurrent use.
type Lab struct {
	// Dir holds the files of the lab.
	Dir string
	// CAFile is the CA of its hosts, ForeignCAFile one that is not given to the program.
	CAFile, ForeignCAFile string
	// PKI is for the way between Gatekeeper and the program.
	PKI *fixture.PKI
	// Signer is trusted by the configurations of Configure, Stranger by nobody. TrustFile is the root of Signer.
	Signer, Stranger *notationtest.Signer
	TrustFile        string

	trusted, foreign *authority

	dialled   atomic.Int64
	searching sync.Mutex

	mu       sync.Mutex
	hosts    []*Host
	canaries []*Canary
	resolver *Resolver
	secrets  []*Secret
	indexed  index
	programs []*Program
	outputs  map[string][]byte // of programs that were run otherwise
	files    int               // how many configurations were written
}

// New makes a lab in a directory, which it makes too. It plants the first secret, the key of the program's own certificate,
// and two canaries on the loopback interface.
func New(dir string) (*Lab, error) {
	l := &Lab{Dir: dir, outputs: map[string][]byte{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := l.make(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) make() (err error) {
	if l.trusted, err = newAuthority("lab CA"); err != nil {
		return err
	}
	if l.foreign, err = newAuthority("foreign CA"); err != nil {
		return err
	}
	if l.PKI, err = fixture.NewPKI(filepath.Join(l.Dir, "pki")); err != nil {
		return err
	}
	if err := l.makeSigners(); err != nil {
		return err
	}
	l.CAFile, l.ForeignCAFile = filepath.Join(l.Dir, "ca.crt"), filepath.Join(l.Dir, "foreign-ca.crt")
	if err := errors.Join(os.WriteFile(l.CAFile, l.trusted.pem, 0o644), os.WriteFile(l.ForeignCAFile, l.foreign.pem, 0o644)); err != nil {
		return err
	}
	if err := l.protectKey(filepath.Join(l.PKI.CertDir, "tls.key")); err != nil {
		return err
	}
	for _, address := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		if _, err := l.Canary("loopback", address); err != nil {
			return err
		}
	}
	return nil
}

// protectKey plants the key of the program's certificate: its lines as they are in the file, and what they stand for.
func (l *Lab) protectKey(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("%s holds no key", file)
	}
	l.Protect("TLS key", string(text[len("-----BEGIN PRIVATE KEY-----"):]))
	l.Protect("TLS key, not in PEM", string(block.Bytes[len(block.Bytes)/2:]))
	return nil
}

func (l *Lab) makeSigners() error {
	for _, s := range []struct {
		name   string
		signer **notationtest.Signer
		file   *string
	}{{"trusted", &l.Signer, &l.TrustFile}, {"stranger", &l.Stranger, nil}} {
		signer, file, err := l.NewSigner(s.name, notationtest.AuthorityOptions{})
		if err != nil {
			return err
		}
		*s.signer = signer
		if s.file != nil {
			*s.file = file
		}
	}
	return nil
}

// NewSigner makes an authority, a signer of its, and the file that holds its root.
func (l *Lab) NewSigner(name string, options notationtest.AuthorityOptions) (*notationtest.Signer, string, error) {
	if options.Name == "" {
		options.Name = name + " root"
	}
	ca, err := notationtest.NewAuthority(options)
	if err != nil {
		return nil, "", err
	}
	signer, err := ca.Issue(notationtest.LeafOptions{CommonName: name})
	if err != nil {
		return nil, "", err
	}
	file, err := l.WriteFile(name+"-root.crt", ca.PEM())
	return signer, file, err
}

// WriteFile writes a file of the lab and returns its path.
func (l *Lab) WriteFile(name string, data []byte) (string, error) {
	path := filepath.Join(l.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, data, 0o600)
}

// Close ends the programs, looks for touched canaries and leaks, and ends the hosts. The error names what was touched and
// what was seen where it may not be, and what could not be ended.
func (l *Lab) Close() error {
	l.mu.Lock()
	programs := slices.Clone(l.programs)
	l.mu.Unlock()
	var errs []error
	for _, p := range programs {
		errs = append(errs, p.Stop())
	}
	errs = append(errs, l.Check())
	l.mu.Lock()
	hosts, canaries, resolver := l.hosts, l.canaries, l.resolver
	l.hosts, l.canaries, l.resolver, l.programs = nil, nil, nil, nil
	l.mu.Unlock()
	for _, h := range hosts {
		errs = append(errs, h.Close())
	}
	for _, c := range canaries {
		errs = append(errs, c.close())
	}
	if resolver != nil {
		errs = append(errs, resolver.close())
	}
	return errors.Join(errs...)
}

// Check is an error if a canary was touched, or a secret seen where it may not be, so far.
func (l *Lab) Check() error {
	var errs []error
	if touched := l.Touched(); len(touched) > 0 {
		errs = append(errs, fmt.Errorf("%d connections to where nobody may connect: %s", len(touched), list(touched)))
	}
	if leaks := l.Leaks(); len(leaks) > 0 {
		errs = append(errs, fmt.Errorf("%d secrets seen where they may not be: %s", len(leaks), list(leaks)))
	}
	return errors.Join(errs...)
}

// Dialled is how many connections the lab itself has made: to the program, and to its canaries to ask them.
func (l *Lab) Dialled() int64 { return l.dialled.Load() }

// dial makes a connection of the lab's own.
func (l *Lab) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.dialled.Add(1)
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// Accepted is how many connections came to hosts, forbidden ones included.
func (l *Lab) Accepted() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, h := range l.hosts {
		n += int64(len(h.Connections()))
	}
	return n
}

// Record adds what a program has said that the lab did not start, under a name, to what secrets are looked for in.
func (l *Lab) Record(name string, output []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outputs[name] = append(l.outputs[name], output...)
}

// places are all that is searched for secrets.
func (l *Lab) places() []searched {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []searched
	for _, h := range l.hosts {
		all = append(all, searched{"host " + h.Name, h.Name, h.Seen(), false})
	}
	for _, c := range l.canaries {
		all = append(all, searched{"canary " + c.Name, "", c.bytes(), false})
	}
	for _, p := range l.programs {
		all = append(all, p.places()...)
	}
	for name, output := range l.outputs {
		all = append(all, searched{"output of " + name, "", output, false})
	}
	if l.resolver != nil {
		all = append(all, searched{"resolver", "", l.resolver.bytes(), false})
	}
	return all
}
