package ratify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// TestLastKnownGoodIsBounded: it is a positive time of a week at most, and for policies that enforce.
func TestLastKnownGoodIsBounded(t *testing.T) {
	store := fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
		return attached(nil), attached(nil), nil
	}}
	for _, tc := range []struct {
		known time.Duration
		mode  ratify.Mode
		want  string
	}{
		{0, ratify.ModeAudit, ""},
		{time.Nanosecond, "", ""},
		{7 * 24 * time.Hour, ratify.ModeEnforce, ""},
		{7*24*time.Hour + 1, "", `policies[0] "p": lastKnownGood: expected a duration of at most 168h, got 168h0m0.000000001s`},
		{-1, "", `policies[0] "p": lastKnownGood: expected a duration of at most 168h, got -1ns`},
		{time.Hour, ratify.ModeAudit, `policies[0] "p": lastKnownGood: it has no effect beside mode: audit, which admits what cannot be told anyway`},
	} {
		engine, err := ratify.NewEngine(ratify.Setup{
			Stores:    []ratify.NamedStore{{Name: "s", Scopes: []string{"*"}, Store: store}},
			Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig"}}},
			Policies:  []ratify.Policy{{Name: "p", Scopes: []string{repositoryName}, Verifiers: []string{"v"}, Mode: tc.mode, LastKnownGood: ratify.Duration(tc.known)}},
		})
		if got := fmt.Sprint(err); tc.want != "" && got != tc.want || tc.want == "" && err != nil {
			t.Errorf("%s, %q: %v", tc.known, tc.mode, err)
		}
		if err != nil {
			continue
		}
		for key, want := range map[string]time.Duration{repositoryName + ":1": tc.known, "other.example/a:1": 0} {
			if got := engine.LastKnownGood(mustParse(t, key)); got != want {
				t.Errorf("%s: %s, want %s", key, got, want)
			}
		}
	}
}

// TestFindings: what becomes of each piece is told as soon as it is known; what is not known, or not needed, is not.
func TestFindings(t *testing.T) {
	told := func(t *testing.T, evidence []ocispec.Descriptor, become map[string]func(context.Context) (ratify.Result, error)) []string {
		t.Helper()
		w := newWorld(evidence, &fakeVerifier{kind: "sig", verify: func(ctx context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			for i := range evidence {
				if e.Digest == evidence[i].Digest {
					return become[fmt.Sprint(i)](ctx)
				}
			}
			return ratify.Result{}, errors.New("another piece")
		}})
		var mu sync.Mutex
		var list []string
		done := make(chan struct{}, 10)
		ctx, cancel := context.WithCancel(ratify.WithFindings(t.Context(), func(f ratify.Finding) {
			mu.Lock()
			defer mu.Unlock()
			reference := "none"
			if i := slices.IndexFunc(evidence, func(e ocispec.Descriptor) bool { return e.Digest == f.Reference }); i >= 0 {
				reference = fmt.Sprint(i)
			}
			if !strings.HasSuffix(f.Subject, subjectDescriptor.Digest.String()) {
				t.Errorf("of %s", f.Subject)
			}
			list = append(list, fmt.Sprintf("%s %t %t", reference, f.Passed, f.Counts))
			done <- struct{}{}
		}))
		defer cancel()
		if become["stuck"] != nil { // the others are told although this one goes on until then
			go func() {
				<-done
				cancel()
			}()
		}
		_, _ = w.engine(t).Verify(ctx, mustParse(t, taggedKey))
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(list)
		return list
	}
	refuses := func(context.Context) (ratify.Result, error) {
		return ratify.Result{Code: ratify.UntrustedSigner}, nil
	}
	passes := func(context.Context) (ratify.Result, error) { return ratify.Result{Passed: true}, nil }
	stuck := func(ctx context.Context) (ratify.Result, error) {
		<-ctx.Done()
		return ratify.Result{}, ctx.Err()
	}
	type becoming = map[string]func(context.Context) (ratify.Result, error)
	for name, tc := range map[string]struct {
		evidence []ocispec.Descriptor
		become   becoming
		want     []string
	}{
		"passed":            {pieces("sig", 1), becoming{"0": passes}, []string{"0 true false"}},
		"refused":           {pieces("sig", 2), becoming{"0": refuses, "1": refuses}, []string{"0 false false", "1 false false"}},
		"beside one stuck":  {pieces("sig", 2), becoming{"0": refuses, "1": stuck, "stuck": stuck}, []string{"0 false false"}},
		"could not be read": {pieces("sig", 1), becoming{"0": func(context.Context) (ratify.Result, error) { return ratify.Result{}, unavailable }}, nil},
		"nothing there":     {nil, nil, []string{"none false false"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := told(t, tc.evidence, tc.become); !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
