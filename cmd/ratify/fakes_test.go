package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// A fakeRepository fails whatever no function was given for.
type fakeRepository struct {
	resolve   func(ctx context.Context, reference string) (ocispec.Descriptor, error)
	referrers func(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error)
	fetch     func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
}

var errUnexpected = errors.New("unexpected call")

func (f *fakeRepository) Name() string { return "registry.example/app" }

func (f *fakeRepository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if f.resolve == nil {
		return ocispec.Descriptor{}, errUnexpected
	}
	return f.resolve(ctx, reference)
}

func (f *fakeRepository) Referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if f.referrers == nil {
		return nil, errUnexpected
	}
	return f.referrers(ctx, subject)
}

func (f *fakeRepository) Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if f.fetch == nil {
		return nil, errUnexpected
	}
	return f.fetch(ctx, desc)
}

// Open makes it a store that has this repository alone.
func (f *fakeRepository) Open(context.Context, ratify.Subject) (subject, evidence ratify.Repository, err error) {
	return f, f, nil
}

// generation is a configuration whose only store is the repository, and that trusts nobody.
func (f *fakeRepository) generation() *generation {
	setup := ratify.Setup{Stores: []ratify.NamedStore{{Name: "fake", Scopes: []string{"*"}, Store: f}}}
	return &generation{setup: setup, engine: must(ratify.NewEngine(setup))}
}

// memory is a repository that holds what is put into it.
type memory struct {
	fakeRepository
	subject ocispec.Descriptor
	tags    map[string]ocispec.Descriptor // cosign's
	lists   map[string][]ocispec.Descriptor
	blobs   map[string][]byte
}

func newMemory(subject ocispec.Descriptor) *memory {
	m := &memory{subject: subject, tags: map[string]ocispec.Descriptor{}, lists: map[string][]ocispec.Descriptor{}, blobs: map[string][]byte{}}
	m.resolve = func(_ context.Context, reference string) (ocispec.Descriptor, error) {
		if tagged, ok := m.tags[reference]; ok {
			return tagged, nil
		}
		if reference != testSubject.Tag && reference != m.subject.Digest.String() {
			return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
		}
		return m.subject, nil
	}
	m.referrers = func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return m.lists[string(subject.Digest)], nil
	}
	m.fetch = func(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
		data, ok := m.blobs[string(desc.Digest)]
		if !ok {
			return nil, &ratify.Error{Code: ratify.RegistryInvalid, Message: "the registry does not have what it listed"}
		}
		return data, nil
	}
	return m
}

// testApp is an app whose output can be read.
func testApp(t *testing.T) (a *app, stdout, stderr *lockedBuffer) {
	t.Helper()
	stdout, stderr = &lockedBuffer{}, &lockedBuffer{}
	return newApp(bytes.NewReader(nil), stdout, stderr), stdout, stderr
}

// A lockedBuffer may be written and read at the same time.
type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.data.String()
	b.data.Reset()
	return s
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
