package oras

import (
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/store/storetest"
)

func TestSuite(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*fakeRegistry)
	}{
		{"referrers API, one page", func(*fakeRegistry) {}},
		{"referrers API, pages of 50", func(f *fakeRegistry) { f.perPage = 50 }},
		{"referrers API over HTTP/2", func(f *fakeRegistry) { f.restartWithHTTP2(t) }},
		{"fallback tag", func(f *fakeRegistry) { f.tagOnly = true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{Open: func(t *testing.T, content storetest.Content) (ratify.Store, string) {
				f := newFake(t, content)
				tc.change(f)
				return newStore(t, Deps{}, f.entry(t)), f.repository()
			}})
		})
	}
}
