package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// world is the store and the verifier of the tests: what happens to an image is said by its repository's last component.
type world struct {
	resolves, verifies atomic.Int64

	mu      sync.Mutex
	digests map[string]digest.Digest // by tag reference, where a test moves it
	gate    chan struct{}            // "slow" waits for it
	result  ratify.Result            // what "pass" gives
}

func newWorld() *world {
	return &world{digests: map[string]digest.Digest{}, gate: make(chan struct{}), result: ratify.Result{Passed: true}}
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) Open(_ context.Context, s ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	r := &worldRepository{w, s.Repository}
	return r, r, nil
}

type worldRepository struct {
	*world
	name string
}

func (r *worldRepository) Name() string { return r.name }

func (r *worldRepository) what() string { return r.name[strings.LastIndexByte(r.name, '/')+1:] }

func (r *worldRepository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	r.resolves.Add(1)
	switch r.what() {
	case "absent":
		return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
	case "down":
		return ocispec.Descriptor{}, &ratify.Error{Code: ratify.RegistryUnavailable, Message: "registry reg.example answered 503"}
	case "hang":
		<-ctx.Done()
		return ocispec.Descriptor{}, ctx.Err()
	case "panic":
		panic("a store that panics")
	}
	d := digest.Digest(reference)
	if d.Validate() != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		var ok bool
		if d, ok = r.digests[r.name+":"+reference]; !ok {
			d = digest.FromString(r.name + ":" + reference)
		}
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1}
	if r.what() == "long-type" {
		desc.ArtifactType = strings.Repeat("x", 4<<20)
	}
	return desc, nil
}

func (r *worldRepository) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if r.what() == "unsigned" {
		return nil, nil
	}
	return []ocispec.Descriptor{{ArtifactType: "test/signature", Digest: digest.FromString("signature")}}, nil
}

func (r *worldRepository) Fetch(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, nil }

// panicky panics when a report is made of it.
type panicky struct{}

func (panicky) MarshalJSON() ([]byte, error) { panic("an extension that panics") }

type worldVerifier struct{ *world }

func (worldVerifier) Match(ocispec.Descriptor) bool { return true }

func (v worldVerifier) Verify(ctx context.Context, _, _ ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	v.verifies.Add(1)
	switch repo.(interface{ Name() string }).Name()[len("reg.example/"):] {
	case "slow":
		ratify.Progress(ctx, "reading a signature")
		select {
		case <-v.gate:
		case <-ctx.Done():
			return ratify.Result{}, ctx.Err()
		}
	case "stranger":
		return ratify.Result{Code: ratify.UntrustedSigner, Extensions: map[string]any{"signer": "CN=stranger"}}, nil
	case "verifier-panics":
		panic("a verifier that panics")
	case "cannot-be-encoded":
		return ratify.Result{Passed: true, Extensions: map[string]any{"bad": panicky{}}}, nil
	case "wordy":
		return ratify.Result{Passed: true, Extensions: map[string]any{"noise": strings.Repeat("x", maxReportBytes-(2<<10))}}, nil
	case "large":
		return ratify.Result{Passed: true, Extensions: map[string]any{"noise": strings.Repeat("x", 2*maxVerifiersBytes)}}, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.result, nil
}

func (w *world) engine(t testing.TB) *ratify.Engine {
	t.Helper()
	e, err := ratify.NewEngine(ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "world", Scopes: []string{"*"}, Store: w}},
		Verifiers: []ratify.NamedVerifier{{Name: "fake", Type: "fake", Verifier: worldVerifier{w}}},
		Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"reg.example/*", "*.stuck.example/*"}, Verifiers: []string{"fake"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// settings are the configuration's, as a file with this text in it would give them.
func settings(t testing.TB, text string) *config.File {
	t.Helper()
	f, err := config.Parse([]byte("stores: [{name: a, type: b}]\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// face is a provider behind a plain HTTP server: what TLS does is tested apart.
type face struct {
	*world
	provider *Provider
	logs     *observer.ObservedLogs
	url      string
	t        testing.TB
}

func newFace(t testing.TB, text string) *face {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	f := &face{world: newWorld(), logs: logs, t: t}
	f.provider = New(Options{VerifyTimeout: 500 * time.Millisecond, MutateTimeout: 500 * time.Millisecond, Log: zap.New(core), Metrics: NewMetrics()})
	f.provider.Install(f.engine(t), settings(t, text))
	server := httptest.NewServer(f.provider.Handler())
	t.Cleanup(server.Close)
	t.Cleanup(func() { f.provider.current.Load().cancel() }) // what hangs would go on for a minute
	f.url = server.URL
	return f
}

func requestBody(keys ...string) string {
	b, _ := json.Marshal(externaldata.NewProviderRequest(keys))
	return string(b)
}

func (f *face) post(path, body string) (int, *externaldata.ProviderResponse) {
	f.t.Helper()
	r, err := http.Post(f.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return r.StatusCode, decodeResponse(f.t, data)
}

// decodeResponse makes sure of what holds for every answer (I2, I4).
func decodeResponse(t testing.TB, data []byte) *externaldata.ProviderResponse {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var response externaldata.ProviderResponse
	if err := d.Decode(&response); err != nil {
		t.Fatalf("no ProviderResponse: %v: %s", err, data)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("there is something after the ProviderResponse: %s", data)
	}
	if response.APIVersion != apiVersion || response.Kind != externaldata.ProviderResponseKind || !response.Response.Idempotent {
		t.Errorf("incomplete response: %s", data)
	}
	if response.Response.SystemError != "" && len(response.Response.Items) != 0 {
		t.Errorf("a systemError with items: %s", data)
	}
	return &response
}

// verify asks about the keys and makes sure that the items match them (I1).
func (f *face) verify(keys ...string) map[string]map[string]any {
	f.t.Helper()
	_, response := f.post(VerifyPath, requestBody(keys...))
	if response.Response.SystemError != "" {
		f.t.Fatalf("systemError: %s", response.Response.SystemError)
	}
	reports := map[string]map[string]any{}
	for _, item := range response.Response.Items {
		report, ok := item.Value.(map[string]any)
		if !ok || reports[item.Key] != nil || item.Error != "" || report["key"] != item.Key {
			f.t.Fatalf("bad item %+v", item)
		}
		reports[item.Key] = report
	}
	for _, key := range keys {
		if reports[key] == nil {
			f.t.Fatalf("no item for %q", key)
		}
	}
	return reports
}

func (f *face) systemError(path string, keys ...string) string {
	f.t.Helper()
	_, response := f.post(path, requestBody(keys...))
	if response.Response.SystemError == "" {
		f.t.Fatalf("no systemError for %v but %+v", keys, response.Response)
	}
	return response.Response.SystemError
}

func atDigest(repository, content string) string {
	return fmt.Sprintf("reg.example/%s@%s", repository, digest.FromString(content))
}

// value is the item's value for one key.
func (v *verdict) value(key string) json.RawMessage {
	quoted, _ := json.Marshal(key)
	return slices.Concat([]byte(keyPrefix), quoted, afterKey(v.encoded))
}

// compose is the response to the answers, its values as they are written.
func compose(answers []answer, requestID string) *externaldata.ProviderResponse {
	x := &exchange{answer: &bytes.Buffer{}}
	x.compose(answers, requestID)
	var response externaldata.ProviderResponse
	var values struct {
		Response struct {
			Items []struct{ Value json.RawMessage }
		}
	}
	for _, into := range []any{&response, &values} {
		if err := json.Unmarshal(x.answer.Bytes(), into); err != nil {
			panic(err)
		}
	}
	for i := range response.Response.Items {
		response.Response.Items[i].Value = values.Response.Items[i].Value
	}
	return &response
}

// decodeRequest reads a request twice: with no key remembered, and with all of them.
func decodeRequest(body []byte) (keys []string, unknown int, err error) {
	var none, all *parsedKeys
	keys, unknown, err = none.decodeRequest(body)
	all = newParsedKeys()
	for _, key := range keys {
		all.put(newParsedKey(key, ratify.Subject{}))
	}
	again, unknownAgain, errAgain := all.decodeRequest(body)
	if !slices.Equal(again, keys) || unknownAgain != unknown || (err == nil) != (errAgain == nil) {
		panic(fmt.Sprintf("%q, but remembered %q", keys, again))
	}
	return keys, unknown, err
}
