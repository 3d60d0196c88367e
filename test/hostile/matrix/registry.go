package matrix

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/test/hostile/lab"
)

func attachedTo(descriptors ...ocispec.Descriptor) []ocispec.Descriptor { return descriptors }

// askRegistries runs the cells in which a registry, or its token server, fails: each has hosts of its own, all one program.
func (w *world) askRegistries(ctx context.Context) ([]*cell, error) {
	cells := w.cells(append(registrySteps(), lab.Token))
	var entries []map[string]any
	var tagged []string
	for _, c := range cells {
		if c.empty != "" {
			continue
		}
		entry, err := w.stageRegistry(c)
		if err != nil {
			return nil, fmt.Errorf("stage %s at %s: %w", c.fault.name, c.step, err)
		}
		entries = append(entries, entry)
		if c.step == lab.CosignTag {
			tagged = append(tagged, strings.TrimSuffix(c.key, ":"+w.bundled.Tag))
		}
	}
	known, err := w.lab.Host(lab.HostOptions{Name: "registry that is well", Address: w.address(), Server: w.registry})
	if err != nil {
		return nil, err
	}
	settings := lab.Settings{Registries: append(entries, w.lab.Entry(known, nil))}
	settings.Verifiers, settings.Policies = w.byKey(tagged)
	p, err := w.serve(ctx, settings)
	if err != nil {
		return nil, err
	}
	stop, err := w.beside(ctx, p, w.image.PinnedAt(known.Addr))
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	ask(ctx, p, cells, parallelCells)
	return cells, errors.Join(stop(), p.Stop())
}

// stageRegistry makes the servers of a cell, and returns the registry's entry in the configuration.
func (w *world) stageRegistry(c *cell) (map[string]any, error) {
	s := &staged{world: w, at: c.step}
	options := lab.HostOptions{Server: w.registry}
	more := map[string]any{}
	if c.step == lab.Token || c.fault.locked {
		s.tokens = w.lab.TokenServer("", "")
		server, err := w.newHost(c, lab.HostOptions{Server: s.tokens})
		if err != nil {
			return nil, err
		}
		options.Server = locked{w.registry, server.URL("/token"), s.tokens}
		more["authHosts"] = []string{server.Addr}
		s.host = server
	}
	if c.step == lab.ReferrersTag {
		options.Server = w.withTag
	}
	registry, err := w.newHost(c, options)
	if err != nil {
		return nil, err
	}
	if s.tokens != nil {
		s.tokens.Allow(registry.Name, c.hosts[0].Name)
	}
	if c.step != lab.Token {
		s.host = registry
	}
	switch c.step {
	case lab.Manifest:
		c.key = w.image.PinnedAt(registry.Addr)
	case lab.ReferrersTag:
		c.key = w.listed.At(registry.Addr)
	case lab.CosignTag:
		c.key = w.bundled.At(registry.Addr)
	default:
		c.key = w.image.At(registry.Addr)
	}
	return w.lab.Entry(registry, more), c.fault.befall(s)
}
