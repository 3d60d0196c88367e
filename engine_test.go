package ratify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

func signedWorld() *world {
	return newWorld(pieces("sig", 1), &fakeVerifier{kind: "sig", verify: look(pass, nil)})
}

func TestVerifiedReport(t *testing.T) {
	for _, key := range []string{taggedKey, repositoryName + "@" + subjectDescriptor.Digest.String(), taggedKey + "@" + subjectDescriptor.Digest.String()} {
		t.Run(key[len(repositoryName):], func(t *testing.T) {
			r, err := signedWorld().engine(t).Verify(t.Context(), mustParse(t, key))
			checkReport(t, r, err)
			if outcomeOf(r, err) != ratify.OutcomeVerified {
				t.Fatalf("%s: %v", r.Message, err)
			}
			if want := repositoryName + "@" + subjectDescriptor.Digest.String(); r.Subject != want || r.Digest != subjectDescriptor.Digest || r.VerifierReports[0].Subject != want {
				t.Errorf("subject %s, digest %s, in the verifier report %s, want %s", r.Subject, r.Digest, r.VerifierReports[0].Subject, want)
			}
			if r.Policy != "default" || !r.Timestamp.Equal(now) || r.Key != "" {
				t.Errorf("policy %q, timestamp %s, key %q", r.Policy, r.Timestamp, r.Key)
			}
		})
	}
}

func TestNothingButDescriptorsTravels(t *testing.T) {
	w := signedWorld()
	var asked []string
	w.repo.resolve = func(_ context.Context, reference string) (ocispec.Descriptor, error) {
		asked = append(asked, reference)
		return subjectDescriptor, nil
	}
	w.verifiers[0].Verifier = &fakeVerifier{kind: "sig", verify: func(_ context.Context, subject, _ ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
		if subject.Digest != subjectDescriptor.Digest || subject.Size != subjectDescriptor.Size || subject.MediaType != subjectDescriptor.MediaType {
			t.Errorf("the verifier is asked about %+v", subject)
		}
		return pass, nil
	}}
	w.verify(t)
	if !slices.Equal(asked, []string{"v1"}) {
		t.Errorf("resolved %q, want the tag once", asked)
	}
	asked = nil
	if _, err := w.engine(t).Verify(t.Context(), mustParse(t, taggedKey+"@"+subjectDescriptor.Digest.String())); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(asked, []string{subjectDescriptor.Digest.String()}) {
		t.Errorf("resolved %q, want the digest alone: in tag@digest it decides", asked)
	}
}

func TestRegistryAnswersAnotherDigest(t *testing.T) {
	w := signedWorld()
	other := digest.FromString("another image")
	r, err := w.engine(t).Verify(t.Context(), mustParse(t, repositoryName+"@"+other.String()))
	checkReport(t, r, err)
	if r.Code != ratify.RegistryInvalid || r.Digest != other {
		t.Errorf("%s about %s: %v", r.Code, r.Digest, err)
	}
	if _, err := w.engine(t).Resolve(t.Context(), mustParse(t, repositoryName+"@"+other.String())); ratify.AsError(err).Code != ratify.RegistryInvalid {
		t.Errorf("resolve: %v", err)
	}
}

// TestAStoreThatDescribesNothing: a descriptor without a digest is no subject that anything could be proven about.
func TestAStoreThatDescribesNothing(t *testing.T) {
	for _, d := range []digest.Digest{"", "sha256", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		w := signedWorld()
		w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return ocispec.Descriptor{Digest: d}, nil }
		if r, err := w.verify(t); outcomeOf(r, err) != ratify.OutcomeUnknown {
			t.Errorf("%q: %s %v", d, outcomeOf(r, err), err)
		}
		if _, err := w.engine(t).Resolve(t.Context(), mustParse(t, taggedKey)); err == nil {
			t.Errorf("%q: resolved", d)
		}
		r, err := signedWorld().engine(t).VerifyResolved(t.Context(), mustParse(t, taggedKey), ocispec.Descriptor{Digest: d})
		if checkReport(t, r, err); outcomeOf(r, err) != ratify.OutcomeUnknown {
			t.Errorf("%q, resolved before: %s %v", d, outcomeOf(r, err), err)
		}
	}
}

func TestStoreFails(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want ratify.Outcome
		code ratify.Code
	}{
		{"not found", &ratify.Error{Code: ratify.SubjectNotFound}, ratify.OutcomeRefused, ratify.SubjectNotFound},
		{"not allowed, wrapped", fmt.Errorf("dial: %w", &ratify.Error{Code: ratify.RegistryNotAllowed}), ratify.OutcomeRefused, ratify.RegistryNotAllowed},
		{"unavailable", unavailable, ratify.OutcomeUnknown, ratify.RegistryUnavailable},
		{"no credentials", &ratify.Error{Code: ratify.RegistryAuth}, ratify.OutcomeUnknown, ratify.RegistryAuth},
		{"rate limit", &ratify.Error{Code: ratify.RateLimited}, ratify.OutcomeUnknown, ratify.RateLimited},
		{"deadline", context.DeadlineExceeded, ratify.OutcomeUnknown, ratify.Deadline},
		{"unheard of", errors.New("odd\x1b"), ratify.OutcomeUnknown, ratify.Internal},
	} {
		for step, set := range map[string]func(*world) ratify.Store{
			"open": func(*world) ratify.Store {
				return fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
					return nil, nil, tc.err
				}}
			},
			"resolve": func(w *world) ratify.Store {
				w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return subjectDescriptor, tc.err }
				return fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
					return w.repo, w.repo, nil
				}}
			},
			"referrers": func(w *world) ratify.Store {
				w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
					return pieces("sig", 1), tc.err
				}
				return fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
					return w.repo, w.repo, nil
				}}
			},
		} {
			for _, key := range []string{taggedKey, repositoryName + "@" + subjectDescriptor.Digest.String()} {
				t.Run(step+": "+tc.name+" "+key[len(repositoryName):len(repositoryName)+2], func(t *testing.T) {
					w := signedWorld()
					r, err := w.engineOn(t, set(w)).Verify(t.Context(), mustParse(t, key))
					checkReport(t, r, err)
					if got := outcomeOf(r, err); got != tc.want || r.Code != tc.code {
						t.Errorf("%s %s, want %s %s", got, r.Code, tc.want, tc.code)
					}
					if strings.ContainsAny(r.Message+r.Remedy, "\x1b") || strings.Contains(r.Message, "odd") {
						t.Errorf("the cause is shown to the user: %q", r.Message)
					}
					if step == "referrers" && r.Digest != subjectDescriptor.Digest {
						t.Errorf("the digest, which is known, is %q", r.Digest)
					}
				})
			}
		}
	}
}

func TestTooManyReferrers(t *testing.T) {
	limit := &ratify.Error{Code: ratify.LimitExceeded, Message: "too many pages"}
	junk := pieces("junk", ratify.MaxReferrers)
	for _, tc := range []struct {
		name     string
		attached []ocispec.Descriptor
		err      error
		want     ratify.Outcome
		code     ratify.Code
	}{
		{"at the bound", append(slices.Clone(junk[1:]), piece("sig", 0)), nil, ratify.OutcomeVerified, ratify.Verified},
		{"a good one before the bound", append(pieces("sig", 1), junk...), nil, ratify.OutcomeVerified, ratify.Verified},
		{"a good one beyond the bound", append(slices.Clone(junk), piece("sig", 0)), nil, ratify.OutcomeRefused, ratify.LimitExceeded},
		{"the store stopped, a good one was read", pieces("sig", 1), limit, ratify.OutcomeVerified, ratify.Verified},
		{"the store stopped, wrapped", pieces("sig", 1), fmt.Errorf("listing: %w", limit), ratify.OutcomeVerified, ratify.Verified},
		{"the store stopped, nothing was read", nil, limit, ratify.OutcomeRefused, ratify.LimitExceeded},
		{"the store stopped too late", append(slices.Clone(junk), piece("sig", 0)), limit, ratify.OutcomeRefused, ratify.LimitExceeded},
		{"the store failed after a good one", pieces("sig", 1), unavailable, ratify.OutcomeUnknown, ratify.RegistryUnavailable},
	} {
		for _, key := range []string{taggedKey, repositoryName + "@" + subjectDescriptor.Digest.String()} {
			t.Run(tc.name+" "+key[len(repositoryName):len(repositoryName)+2], func(t *testing.T) {
				w := signedWorld()
				w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return tc.attached, tc.err }
				r, err := w.engine(t).Verify(t.Context(), mustParse(t, key))
				checkReport(t, r, err)
				if got := outcomeOf(r, err); got != tc.want || r.Code != tc.code {
					t.Errorf("%s %s %q, want %s %s", got, r.Code, r.Message, tc.want, tc.code)
				}
			})
		}
	}
}

// TestResolvesAndListsAtTheSameTime where the digest is known, and gives up on the list if there is no subject.
func TestResolvesAndListsAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := signedWorld()
		w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) {
			time.Sleep(time.Second)
			return subjectDescriptor, nil
		}
		w.repo.referrers = func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			if subject.Digest != subjectDescriptor.Digest {
				t.Errorf("listing the referrers of %s", subject.Digest)
			}
			time.Sleep(time.Second)
			return pieces("sig", 1), nil
		}
		began := time.Now()
		if _, err := w.engine(t).Verify(t.Context(), mustParse(t, repositoryName+"@"+subjectDescriptor.Digest.String())); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s, want 1s", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := signedWorld()
		w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) {
			return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
		}
		w.repo.referrers = func(ctx context.Context, _ ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		r, err := w.engine(t).Verify(t.Context(), mustParse(t, repositoryName+"@"+subjectDescriptor.Digest.String()))
		checkReport(t, r, err)
		if r.Code != ratify.SubjectNotFound {
			t.Errorf("%s: %v", r.Code, err)
		}
	})
}

func TestEvidenceIsElsewhere(t *testing.T) {
	images := &fakeRepository{name: repositoryName, resolve: func(context.Context, string) (ocispec.Descriptor, error) { return subjectDescriptor, nil }}
	signatures := &fakeRepository{name: "registry.example/signatures",
		referrers: func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return pieces("sig", 1), nil },
		fetch:     func(context.Context, ocispec.Descriptor) ([]byte, error) { return []byte("envelope"), nil }}
	v := &fakeVerifier{kind: "sig", verify: func(ctx context.Context, _, e ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
		data, err := repo.Fetch(ctx, e)
		return ratify.Result{Passed: repo.Name() == repositoryName && string(data) == "envelope"}, err
	}}
	w := newWorld(nil, v)
	e := w.engineOn(t, fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
		return images, signatures, nil
	}})
	r, err := e.Verify(t.Context(), mustParse(t, taggedKey))
	checkReport(t, r, err)
	if outcomeOf(r, err) != ratify.OutcomeVerified {
		t.Errorf("%s: %v", r.Message, err)
	}
}

// TestPlace: what a verifier remembers of a repository is of where it is, whatever the image is verified as, and of one
// tenant.
func TestPlace(t *testing.T) {
	for _, tc := range []struct {
		key      string
		evidence ratify.EvidenceAt
		want     string
	}{
		{"registry.example/app:v1", "", "[]registry.example/app"},
		{"[team]registry.example/app:v1", "", "[team]registry.example/app"},
		{"mirror.example/app:v1", ratify.EvidenceAtMirror, "[]mirror.example/app"},
		{"mirror.example/app:v1", ratify.EvidenceAtOrigin, "[]registry.example/app"},
		{"[team]mirror.example/app:v1", ratify.EvidenceAtOrigin, "[team]registry.example/app"},
	} {
		t.Run(tc.key+" "+string(tc.evidence), func(t *testing.T) {
			got := ""
			v := &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, _ ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
				got = repo.(interface{ Place() string }).Place()
				return pass, nil
			}}
			store := fakeStore{open: func(_ context.Context, s ratify.Subject) (ratify.Repository, ratify.Repository, error) {
				repo := attached(lists{subjectDescriptor.Digest: pieces("sig", 1)})
				repo.name = s.Repository
				return repo, repo, nil
			}}
			e := newEngine(t, ratify.Setup{
				Stores:    []ratify.NamedStore{{Name: "fake", Scopes: []string{"*"}, Store: store}},
				Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: v}}, Policies: everywhere("v"),
				Mirrors: []ratify.Mirror{{PulledFrom: "mirror.example/*", VerifyAs: "registry.example/*", Evidence: tc.evidence}},
				Tenancy: &ratify.Tenancy{},
			}, nil)
			if r, err := ask(t, e, tc.key); outcomeOf(r, err) != ratify.OutcomeVerified || got != tc.want {
				t.Errorf("place %q, want %q: %s", got, tc.want, r.Message)
			}
		})
	}
}

func TestVerifyResolved(t *testing.T) {
	w := signedWorld()
	w.repo.resolve = nil // what was resolved is not read again
	r, err := w.engine(t).VerifyResolved(t.Context(), mustParse(t, taggedKey), subjectDescriptor)
	checkReport(t, r, err)
	if outcomeOf(r, err) != ratify.OutcomeVerified || r.Digest != subjectDescriptor.Digest {
		t.Errorf("%s: %v", r.Message, err)
	}
}

func TestResolve(t *testing.T) {
	w := signedWorld()
	desc, err := w.engine(t).Resolve(t.Context(), mustParse(t, taggedKey))
	if err != nil || desc.Digest != subjectDescriptor.Digest {
		t.Errorf("%+v: %v", desc, err)
	}
	for name, tc := range map[string]struct {
		resolve func(context.Context, string) (ocispec.Descriptor, error)
		code    ratify.Code
	}{
		"not found": {func(context.Context, string) (ocispec.Descriptor, error) {
			return subjectDescriptor, &ratify.Error{Code: ratify.SubjectNotFound}
		}, ratify.SubjectNotFound},
		"no code": {func(context.Context, string) (ocispec.Descriptor, error) { return subjectDescriptor, errors.New("odd") }, ratify.Internal},
		"too late": {func(context.Context, string) (ocispec.Descriptor, error) {
			return subjectDescriptor, context.DeadlineExceeded
		}, ratify.Deadline},
		"panic": {func(context.Context, string) (ocispec.Descriptor, error) { panic("boom") }, ratify.Internal},
		"nil *Error": {func(context.Context, string) (ocispec.Descriptor, error) {
			var e *ratify.Error
			return subjectDescriptor, e
		}, ratify.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			w.repo.resolve = tc.resolve
			desc, err := w.engine(t).Resolve(t.Context(), mustParse(t, taggedKey))
			var e *ratify.Error
			if !errors.As(err, &e) || e.Code != tc.code {
				t.Errorf("error %v, want %s", err, tc.code)
			}
			if desc.Digest != "" {
				t.Errorf("an error, and the digest %s", desc.Digest)
			}
			if err != nil && err.Error() == "" {
				t.Error("an error without words")
			}
		})
	}
}

func TestPreliminary(t *testing.T) {
	skip := func(says func(ratify.Subject) bool) ratify.Verifier {
		return fakeSkipper{&fakeVerifier{kind: "sig"}, says}
	}
	for _, tc := range []struct {
		name     string
		verifier ratify.Verifier
		scope    string
		decided  bool
		code     ratify.Code
	}{
		{"skipped", skip(func(ratify.Subject) bool { return true }), "*", true, ratify.Skipped},
		{"not skipped", skip(func(ratify.Subject) bool { return false }), "*", false, ""},
		{"no skipper", &fakeVerifier{kind: "sig"}, "*", false, ""},
		{"no policy", &fakeVerifier{kind: "sig"}, "other.example/*", true, ratify.NoPolicy},
		// What could not be told is not decided: whoever asks goes on to Verify, which says so as an error.
		{"panic", skip(func(ratify.Subject) bool { panic("boom") }), "*", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := ratify.NewEngine(ratify.Setup{
				Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: tc.verifier}},
				Policies:  []ratify.Policy{{Name: "p", Scopes: []string{tc.scope}, Verifiers: []string{"v"}}},
				Now:       func() time.Time { return now },
			})
			if err != nil {
				t.Fatal(err)
			}
			r, decided := e.Preliminary(mustParse(t, taggedKey))
			if decided != tc.decided {
				t.Fatalf("decided %t: %+v", decided, r)
			}
			if decided {
				checkReport(t, r, nil)
				if r.Code != tc.code {
					t.Errorf("code %s, want %s", r.Code, tc.code)
				}
			}
		})
	}
}

func TestScopesChooseStoreAndPolicy(t *testing.T) {
	store := func(result string) ratify.Store {
		return fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
			return nil, nil, &ratify.Error{Code: ratify.RegistryUnavailable, Message: result}
		}}
	}
	v := &fakeVerifier{kind: "sig"}
	e, err := ratify.NewEngine(ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "wide", Scopes: []string{"*.example/*"}, Store: store("wide")}, {Name: "narrow", Scopes: []string{"a.example/b/*"}, Store: store("narrow")}},
		Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: v}},
		Policies:  []ratify.Policy{{Name: "low", Scopes: []string{"a.example/*", "b.example/*", "z.test/*"}, Verifiers: []string{"v"}}, {Name: "high", Scopes: []string{"a.example/b/c"}, Verifiers: []string{"v"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		key    string
		code   ratify.Code
		policy string
		store  string
	}{
		{"a.example/x", ratify.RegistryUnavailable, "low", "wide"},
		{"a.example/b/x", ratify.RegistryUnavailable, "low", "narrow"},
		{"a.example/b/c", ratify.RegistryUnavailable, "high", "narrow"},
		{"A.Example:443/b/c", ratify.RegistryUnavailable, "high", "narrow"},
		{"z.test/x", ratify.NoStore, "low", ""},
		{"c.example/x", ratify.NoPolicy, "", ""},
		{"nginx", ratify.NoPolicy, "", ""},
	} {
		r, _ := e.Verify(t.Context(), mustParse(t, tc.key))
		if r.Code != tc.code || r.Policy != tc.policy || tc.store != "" && !strings.HasSuffix(r.Message, tc.store) {
			t.Errorf("%s: %s under %q: %s", tc.key, r.Code, r.Policy, r.Message)
		}
	}
}

func TestProgress(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	ctx := ratify.WithProgress(t.Context(), func(step string) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, step)
	})
	if _, err := signedWorld().engine(t).Verify(ctx, mustParse(t, taggedKey)); err != nil {
		t.Fatal(err)
	}
	want := []string{"reading the image's manifest", "listing the image's referrers", "verifying evidence with a"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	ratify.Progress(context.Background(), "nobody listens")
}

func TestManyAtTheSameTime(t *testing.T) {
	e := newWorld(pieces("sig", 20), &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, d ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		return ratify.Result{Passed: d.Digest == piece("sig", 7).Digest}, nil
	}}).engine(t)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			key := taggedKey
			if i%2 == 0 {
				key = repositoryName + "@" + subjectDescriptor.Digest.String()
			}
			s, err := ratify.ParseKey(key)
			if err != nil {
				t.Error(err)
				return
			}
			if r, err := e.Verify(t.Context(), s); err != nil || !r.IsSuccess {
				t.Errorf("%s: %v", r.Message, err)
			}
		})
	}
	all.Wait()
}

func TestTruncateAndQuote(t *testing.T) {
	for _, tc := range []struct {
		name, in, quoted string
	}{
		{"plain", "CN=alice", `"CN=alice"`},
		{"escape code", "\x1b[31mred", `"\x1b[31mred"`},
		{"newlines", "a\r\nb", `"a\r\nb"`},
		{"quotes", `a" b`, `"a\" b"`},
		{"right-to-left override", "a\u202eb", `"a\u202eb"`},
		{"zero width", "a\u200bb", `"a\u200bb"`},
		{"invalid UTF-8", "a\xffb", `"a\xffb"`},
		{"NUL", "a\x00", `"a\x00"`},
	} {
		if got := ratify.Quote(tc.in); got != tc.quoted {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.quoted)
		}
		if got := ratify.Truncate(tc.in); got != tc.in {
			t.Errorf("%s: truncated to %q", tc.name, got)
		}
	}
	for _, unit := range []string{"a", "ß", "日", "🦀", "\xff", "\x80"} {
		for pad := range 5 {
			long := strings.Repeat("x", pad) + strings.Repeat(unit, 600)
			got := ratify.Truncate(long)
			if len(got) > ratify.MaxTextBytes || !strings.HasSuffix(got, "…") || !strings.HasPrefix(long, strings.TrimSuffix(got, "…")) {
				t.Errorf("%q: %d bytes, %q", unit, len(got), got)
			}
		}
	}
	if at := strings.Repeat("a", ratify.MaxTextBytes); ratify.Truncate(at) != at {
		t.Error("text at the bound is truncated")
	}
}

// TestEmptyConfigIsNoArtifactType: a registry that lists the config's type says nothing by that of an empty config.
func TestEmptyConfigIsNoArtifactType(t *testing.T) {
	listed := pieces(ocispec.MediaTypeEmptyJSON, 1)
	w := newWorld(listed, &fakeVerifier{verify: look(pass, nil), match: func(d ocispec.Descriptor) bool { return d.ArtifactType == "" }})
	if r, err := w.verify(t); outcomeOf(r, err) != ratify.OutcomeVerified {
		t.Errorf("%s: %v", r.Message, err)
	}
	if listed[0].ArtifactType != ocispec.MediaTypeEmptyJSON {
		t.Error("the store's own list was changed")
	}
}
