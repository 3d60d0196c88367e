package main

import (
	"slices"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
)

func TestWarnMirrored(t *testing.T) {
	below := ratify.Mirror{PulledFrom: "mirror.example/acme/*", VerifyAs: "acme.example/*"}
	one := ratify.Mirror{PulledFrom: "mirror.example/app", VerifyAs: "acme.example/app"}
	there := ratify.Mirror{PulledFrom: "other.example/*", VerifyAs: "mirror.example/acme/*"}
	const place = `policies[0] "p": scopes: `
	for name, c := range map[string]struct {
		scope   string
		mirrors []ratify.Mirror
		want    []string
	}{
		"no mirror":              {"mirror.example/acme/*", nil, nil},
		"the origin's name":      {"acme.example/*", []ratify.Mirror{below}, nil},
		"more than the mirror":   {"mirror.example/*", []ratify.Mirror{below, one}, nil},
		"everything":             {"*", []ratify.Mirror{below}, nil},
		"the mirror's name":      {"mirror.example/acme/*", []ratify.Mirror{one, below}, []string{place + `"mirror.example/acme/*" holds nothing: images there are verified as acme.example/*, by mirrors[1]; write the scope for that name`}},
		"a repository below":     {"mirror.example/acme/x", []ratify.Mirror{below}, []string{place + `"mirror.example/acme/x" holds nothing: images there are verified as acme.example/x, by mirrors[0]; write the scope for that name`}},
		"the one repository":     {"mirror.example/app", []ratify.Mirror{one}, []string{place + `"mirror.example/app" holds nothing: images there are verified as acme.example/app, by mirrors[0]; write the scope for that name`}},
		"what others lead to":    {"mirror.example/acme/*", []ratify.Mirror{below, there}, nil},
		"a part others lead to":  {"mirror.example/acme/x", []ratify.Mirror{below, there}, nil},
		"more than what is left": {"mirror.example/acme/*", []ratify.Mirror{below, {PulledFrom: "x.example/y", VerifyAs: "mirror.example/acme/y"}}, nil},
	} {
		policies := []ratify.Policy{{Name: "p", Scopes: []string{c.scope}}}
		g := &generation{file: &config.File{Policies: policies}, setup: ratify.Setup{Policies: policies, Mirrors: c.mirrors}}
		if got := g.warnMirrored(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	g := &generation{file: &config.File{}, setup: ratify.Setup{Mirrors: []ratify.Mirror{one}, Policies: []ratify.Policy{{Name: "team-a/own", Scopes: []string{"mirror.example/app"}}}}}
	if got := g.warnMirrored(); len(got) != 1 || got[0][:len(`policy "team-a/own": scopes: `)] != `policy "team-a/own": scopes: ` {
		t.Errorf("of a tenant: %q", got)
	}
}

func TestMirroredOf(t *testing.T) {
	setup := ratify.Setup{Mirrors: []ratify.Mirror{
		{PulledFrom: "mirror.example/*", VerifyAs: "origin.example/*", Evidence: ratify.EvidenceAtOrigin},
		{PulledFrom: "mirror.example/near/*", VerifyAs: "near.example/*"},
		{PulledFrom: "mirror.example/near/far", VerifyAs: "far.example/app", Evidence: ratify.EvidenceAtOrigin},
	}}
	slices.Reverse(setup.Mirrors)
	for range 2 { // in either order
		slices.Reverse(setup.Mirrors)
		g := &generation{setup: setup, engine: must(ratify.NewEngine(setup))}
		for repository, want := range map[string]mirrored{
			"registry.example/app":    {},
			"mirror.example/app":      {"origin.example/app", "origin.example/app"},
			"mirror.example/near/app": {"near.example/app", ""},
			"mirror.example/near/far": {"far.example/app", "far.example/app"},
		} {
			if got := mirroredOf(g, ratify.Subject{Repository: repository, Tag: "v1"}); got != want {
				t.Errorf("%s: %+v, want %+v", repository, got, want)
			}
		}
	}
}
