package matrix

import (
	"context"
	"fmt"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// parallelRevocation cells are asked at the same time: the program has eight requests to responders under way at most, and a
// cell must not wait for another one's.
const parallelRevocation = 8

// A trial is what the cells of revocation have in common: a registry that is well, and the roots of all signers.
type trial struct {
	*world
	host    *lab.Host
	roots   []byte // of signers
	times   []byte // of timestamp authorities
	stamped []string
	images  int
}

// askResponders runs the cells in which a responder fails: an image for each, of a signer whose certificate names it.
func (w *world) askResponders(ctx context.Context) ([]*cell, error) {
	t := &trial{world: w}
	var err error
	if t.host, err = w.lab.Host(lab.HostOptions{Name: "registry beside the responders", Address: w.address(), Server: w.registry}); err != nil {
		return nil, err
	}
	cells := w.cells(revocationSteps())
	for _, c := range cells {
		if c.empty != "" {
			continue
		}
		if err := t.stage(ctx, c); err != nil {
			return nil, fmt.Errorf("stage %s at %s: %w", c.fault.name, c.step, err)
		}
	}
	return cells, t.ask(ctx, cells)
}

// stage makes the responder of a cell, a signer that names it, and an image.
func (t *trial) stage(ctx context.Context, c *cell) error {
	responder := notationtest.NewResponder()
	responder.Set(c.fault.state)
	h, err := t.newHost(c, lab.HostOptions{Plain: true, Server: lab.Handler(c.step, responder)})
	if err != nil {
		return err
	}
	if err := c.fault.befall(&staged{world: t.world, at: c.step, host: h}); err != nil {
		return err
	}
	signer, options, err := t.signer(c.step, h.URL(""), responder)
	if err != nil {
		return err
	}
	t.images++
	image, err := t.registry.PutImage(fmt.Sprintf("revocation-%d", t.images))
	if err != nil {
		return err
	}
	c.key = image.At(t.host.Addr)
	if c.step == lab.Timestamp {
		t.stamped = append(t.stamped, t.host.Addr+"/"+image.Repository)
	}
	_, err = t.registry.Sign(ctx, image, signer, options)
	return err
}

// signer is one for whose signatures the responder is asked.
func (t *trial) signer(at lab.Step, url string, responder *notationtest.Responder) (*notationtest.Signer, notationtest.SignOptions, error) {
	options := notationtest.AuthorityOptions{Name: fmt.Sprintf("Root %d", t.images), OCSPURL: url}
	switch at {
	case lab.CRL:
		options.OCSPURL, options.CRLURL = "", url
	case lab.Timestamp:
		// An authority for timestamps is as old as its certificate.
		options.NotBefore, options.NotAfter = time.Now().Add(-lifetime), time.Now().Add(lifetime)
	}
	authority, err := notationtest.NewAuthority(options)
	if err != nil {
		return nil, notationtest.SignOptions{}, err
	}
	responder.Add(authority)
	if at == lab.Timestamp {
		t.times = append(t.times, authority.PEM()...)
		stamps, err := notationtest.NewTimestampAuthority(notationtest.TimestampOptions{Authority: authority})
		return t.lab.Signer, notationtest.SignOptions{Timestamp: stamps}, err
	}
	t.roots = append(t.roots, authority.PEM()...)
	signer, err := authority.Issue(notationtest.LeafOptions{})
	return signer, notationtest.SignOptions{}, err
}

// lifetime is longer than any run.
const lifetime = 24 * time.Hour

// ask asks the program about the cells, under a configuration that trusts all signers and asks for timestamps where there is
// one.
func (t *trial) ask(ctx context.Context, cells []*cell) error {
	roots, err := t.lab.WriteFile("signers.pem", t.roots)
	if err != nil {
		return err
	}
	times, err := t.lab.WriteFile("times.pem", t.times)
	if err != nil {
		return err
	}
	statement := func(name string, scopes []string, check map[string]any, stores ...string) map[string]any {
		return map[string]any{"name": name, "registryScopes": scopes, "signatureVerification": check, "trustStores": stores, "trustedIdentities": []string{"*"}}
	}
	p, err := t.serve(ctx, lab.Settings{
		Registries: []map[string]any{t.lab.Entry(t.host, nil)},
		Notation: map[string]any{
			"allowPrivateRevocation": true,
			"trustStores": []any{
				map[string]any{"type": "ca", "name": "certs", "files": []string{t.lab.TrustFile, roots}},
				map[string]any{"type": "tsa", "name": "times", "files": []string{times}},
			},
			"trustPolicy": map[string]any{"version": "1.0", "trustPolicies": []any{
				statement("default", []string{"*"}, map[string]any{"level": "strict"}, "ca:certs"),
				statement("stamped", t.stamped, map[string]any{"level": "strict", "verifyTimestamp": "always"}, "ca:certs", "tsa:times"),
			}},
		},
	})
	if err != nil {
		return err
	}
	ask(ctx, p, cells, parallelRevocation)
	return p.Stop()
}
