package matrix

import (
	"context"
	"net/http"

	"github.com/ratify-provider/ratify/test/fixture"
)

// registrySteps are those of reading an image and its evidence.
func registrySteps() []step { return []step{resolve, manifest, referrers, signature, blob} }

// registryCells make a registry for each fault and step, and its token server where the step is there.
func (w *world) registryCells(ctx context.Context) (cells []*cell, entries []registryEntry, err error) {
	for _, f := range faults() {
		for _, at := range append(registrySteps(), token) {
			c := &cell{fault: f.name, step: at, want: f.want.forStep(at), empty: f.want.empty[at]}
			cells = append(cells, c)
			if w.env.Quick && !f.quick && c.empty == "" {
				c.empty = notInSlice
			}
			if c.empty != "" {
				continue
			}
			entry, err := w.stage(ctx, c, f)
			if err != nil {
				return cells, nil, err
			}
			entries = append(entries, entry)
		}
	}
	return cells, entries, nil
}

// stage makes the servers of a cell.
func (w *world) stage(ctx context.Context, c *cell, f fault) (registryEntry, error) {
	image := w.fixture.Images[fixture.Signed]
	registry := &host{right: w.content, stepOf: stepsOf(image.Digest), at: c.step, tokens: &tokens{}}
	if c.step != token {
		registry.fault = f
		registry.before = before(c.step)
	}
	if err := w.newHost(ctx, registry); err != nil {
		return registryEntry{}, err
	}
	c.hosts = append(c.hosts, registry)
	entry := registryEntry{host: registry.address}
	if c.step == token || f.locked {
		server := &host{right: http.HandlerFunc(registry.tokens.give), stepOf: func(*http.Request) step { return token }, at: token}
		if c.step == token {
			server.fault = f
		}
		if err := w.newHost(ctx, server); err != nil {
			return registryEntry{}, err
		}
		c.hosts = append(c.hosts, server)
		entry.authHost = server.address
		registry.right = registry.tokens.lock("https://"+server.address, w.content)
	}
	for _, h := range c.hosts {
		h.serve()
	}
	c.key = registry.address + "/" + fixture.Signed + ":" + image.Tag
	if c.step == manifest {
		c.key = registry.address + "/" + fixture.Signed + "@" + image.Digest.String()
	}
	return entry, nil
}

// before is the step whose answer comes just before that of a step; empty: the step is the first one.
func before(at step) step {
	switch at {
	case referrers:
		return resolve
	case signature:
		return referrers
	case blob:
		return signature
	}
	return ""
}

func (w wants) forStep(at step) []outcome {
	if want, ok := w.at[at]; ok {
		return want
	}
	switch at {
	case ocsp, crl, timestamp:
		return w.revocation
	}
	return w.registry
}
