package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registryOf serves the layout of a site as a registry, and counts the requests.
func registryOf(t *testing.T, s *site) (host string, requests *atomic.Int32) {
	t.Helper()
	var index ocispec.Index
	if err := json.Unmarshal(must(os.ReadFile(s.path("layout/index.json"))), &index); err != nil {
		t.Fatal(err)
	}
	referrers := must(json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: index.Manifests[1:]}))
	requests = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, encoded, _ := strings.Cut(r.URL.Path, "sha256:")
		switch {
		case strings.Contains(r.URL.Path, "/referrers/"):
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			_, _ = w.Write(referrers)
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			fallthrough
		default:
			_, _ = w.Write(must(os.ReadFile(filepath.Join(s.dir, "layout/blobs/sha256", filepath.Base(encoded)))))
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), requests
}

// inRegistry makes a site whose image is in a registry.
func inRegistry(t *testing.T) (s *site, requests *atomic.Int32) {
	t.Helper()
	s = newSite(t)
	host, requests := registryOf(t, s)
	s.image = strings.Replace(s.image, "registry.example", host, 1)
	s.write(t, "config.yaml", []byte(strings.Replace(s.config(""), "stores: [{name: disk, type: ocilayout, scopes: [\"*\"], settings: {path: "+fmt.Sprintf("%q", s.path("layout"))+"}}]",
		"stores: [{name: r, type: oras, scopes: [\"*\"], settings: {registries: [{host: \""+host+"\", plainHTTP: true, allowPrivate: true}]}}]", 1)))
	return s, requests
}

// After a reload, and after a restart with a directory, an image costs one request: what is attached to it now?
func TestServeReadsContentOnce(t *testing.T) {
	s, requests := inRegistry(t)
	kept := []string{"--content-dir", s.path("kept"), "--content-disk", "1Mi"}
	verify := func(when string, want int32) {
		t.Helper()
		before := requests.Load()
		if ok, code := s.verify(t); !ok {
			t.Fatalf("%s: %s\n%s", when, code, s.stderr)
		}
		if n := requests.Load() - before; n != want {
			t.Errorf("%s: %d requests, want %d", when, n, want)
		}
	}
	restart := func(more ...string) {
		t.Helper()
		s.stop()
		s.stderr, s.stopped = &logBuffer{}, false
		s.serve(t, more...)
	}

	s.serve(t, kept...)
	verify("at first", 4)
	s.write(t, "signer.crt", append(s.signer.PEM(), s.other.PEM()...))
	s.stderr.wait(t, "reloaded")
	verify("after a reload of trust", 1)
	restart(kept...)
	verify("after a restart", 1)
	text := metricsOf(t, s)
	for _, want := range []string{`ratify_content_cache_lookups_total{result="hit_disk"} 3`, `ratify_content_cache_lookups_total{result="miss"} 0`,
		`ratify_content_cache_bytes{level="disk"} 12288`, "ratify_content_cache_dropped_total 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics do not say %s", want)
		}
	}
	restart()
	verify("after a restart without the directory", 4)
	restart("--content-memory", "0")
	verify("without any content", 4)
	s.write(t, "signer.crt", s.signer.PEM())
	s.stderr.wait(t, "reloaded")
	verify("after a reload without any content", 4)
}

func metricsOf(t *testing.T, s *site) string {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) { // the files are counted in the background
		r, err := http.Get("http://" + s.health + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `ratify_content_cache_bytes{level="disk"} 0`) || time.Now().After(end) {
			return string(text)
		}
	}
}

// A directory that cannot be used is told, and keeps nobody waiting.
func TestServeWithoutItsDirectory(t *testing.T) {
	s, _ := inRegistry(t)
	s.write(t, "kept", nil)
	s.serve(t, "--content-dir", s.path("kept"))
	if ok, code := s.verify(t); !ok {
		t.Errorf("%s", code)
	}
	record := s.stderr.wait(t, "the directory of content fails: everything is answered, with more requests to registries")
	if !strings.Contains(fmt.Sprint(record["error"]), s.path("kept")) {
		t.Errorf("%v", record)
	}
}

func TestContentFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"bytes without a directory": {[]string{"--content-disk", "1Mi"}, "--content-disk has no effect without --content-dir"},
		"a directory for nothing":   {[]string{"--content-dir", "x", "--content-disk", "0"}, "--content-dir has no effect if --content-disk is 0"},
		"negative bytes":            {[]string{"--content-memory", "-1"}, "expected a positive quantity of bytes such as 64Mi"},
		"another unit":              {[]string{"--content-memory", "64MiB"}, "expected a positive quantity of bytes such as 64Mi"},
		"no number":                 {[]string{"--content-memory", "null"}, "expected a positive quantity of bytes such as 64Mi"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if code := run(t.Context(), s.args(c.args...), strings.NewReader(""), io.Discard, s.stderr); code != exitUsage {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(s.stderr.String(), c.want) {
				t.Errorf("it says %q, want %q", s.stderr, c.want)
			}
		})
	}
}
