package oras

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
)

// BenchmarkRequest compares a read through the store with a bare request of the standard library for the same bytes, over
// the same kind of connection.
func BenchmarkRequest(b *testing.B) {
	c := newFixture()
	body := c.layer.Data
	var asksForToken atomic.Bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			_, _ = io.WriteString(w, `{"token":"t","expires_in":3600}`)
			return
		}
		if asksForToken.Load() && r.Header.Get("Authorization") == "" {
			w.Header().Set("Www-Authenticate", bearer("http://"+r.Host+"/token", ""))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(body)
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	host := server.Listener.Addr().String()
	address := "http://" + host + "/v2/app/blobs/" + c.layer.Desc.Digest.String()

	b.Run("bare", func(b *testing.B) {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
		b.ReportAllocs()
		for b.Loop() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, nil)
			if err != nil {
				b.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
	for _, tokens := range []bool{false, true} {
		b.Run(fmt.Sprintf("store, tokens %v", tokens), func(b *testing.B) {
			asksForToken.Store(tokens)
			store, err := New(Config{Registries: []Registry{{Host: host, PlainHTTP: true, AllowPrivate: true}}}, Deps{})
			if err != nil {
				b.Fatal(err)
			}
			repo, _, err := store.Open(b.Context(), ratify.Subject{Repository: host + "/app"})
			if err != nil {
				b.Fatal(err)
			}
			s := repo.(*access).as(auth.EmptyCredential).session
			b.ReportAllocs()
			for b.Loop() {
				err := s.get(b.Context(), address, "*/*", func(resp *http.Response) error {
					_, err := io.ReadAll(resp.Body)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
