package world

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestMain is also the program that measures, for the servers that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		run := map[string]func([]string) error{FloorCommand: RunFloor, EchoCommand: RunEcho}[os.Args[1]]
		if run != nil {
			fmt.Fprintln(os.Stderr, run(os.Args[2:]))
			os.Exit(1)
		}
	}
	dir, err := os.MkdirTemp("", "bench-world-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built.dir = dir
	status := m.Run()
	_ = os.RemoveAll(dir) // what is left there is the system's to remove
	os.Exit(status)
}

// built is where ratify is built, once for all tests.
var built struct {
	dir  string
	once sync.Once
	path string
	err  error
}

func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() { built.path, built.err = BuildRatify(context.Background(), "", built.dir) })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func newRegistry(t *testing.T, options RegistryOptions) *Registry {
	t.Helper()
	r, err := NewRegistry(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newTestSigner(t *testing.T, kind SignerKind) *Signer {
	t.Helper()
	s, err := NewSigner(kind)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func makeImages(t *testing.T, r *Registry, n int, s *Signer) []Image {
	t.Helper()
	images, err := r.Images(n, s)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// newPKI makes certificates and tells the directory to start servers in.
func newPKI(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	pki, err := NewPKI(filepath.Join(dir, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	return Options{PKI: pki, Dir: dir}
}

// running stops the server with the test.
func running(t *testing.T, s *Server, err error) *Server {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// An outcome is what a server says of one image.
type outcome struct {
	key, code string
	success   bool
}

// ask returns what the server says of the keys, in their order, and what it says instead.
func ask(t *testing.T, s *Server, keys ...string) ([]outcome, string) {
	t.Helper()
	body, err := s.Ask(within(t), keys...)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Response struct {
			SystemError string
			Items       []struct {
				Key   string
				Value struct {
					IsSuccess bool
					Code      string
				}
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var outcomes []outcome
	for _, item := range answer.Response.Items {
		outcomes = append(outcomes, outcome{item.Key, item.Value.Code, item.Value.IsSuccess})
	}
	return outcomes, answer.Response.SystemError
}
