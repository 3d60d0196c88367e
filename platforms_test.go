package ratify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// manifestFor is one manifest of an index.
func manifestFor(architecture string) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("manifest for " + architecture), Size: 7,
		Platform: &ocispec.Platform{OS: "linux", Architecture: architecture},
	}
}

// indexed is an image that is an index of the given text, and what is attached to which digest.
func indexed(data []byte, l lists) (*fakeRepository, ocispec.Descriptor) {
	index := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
	repo := attached(l)
	repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return index, nil }
	repo.fetch = func(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
		if desc.Digest != index.Digest || desc.Size != index.Size || desc.MediaType != index.MediaType {
			return nil, fmt.Errorf("asked for %+v", desc)
		}
		return data, nil
	}
	return repo, index
}

func indexOf(t testing.TB, manifests ...ocispec.Descriptor) []byte {
	t.Helper()
	data, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// byPlatforms is an engine with one verifier, under a policy for platforms.
func byPlatforms(t testing.TB, repo ratify.Repository, platforms ratify.Platforms, v ratify.Verifier) *ratify.Engine {
	t.Helper()
	setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: v}}, Policies: everywhere("v")}
	setup.Policies[0].Platforms = platforms
	return newEngine(t, setup, repo)
}

// scriptOf finds what the script says of a subject; what is not in it is absent.
func scriptOf(script map[digest.Digest]int) *fakeVerifier {
	return &fakeVerifier{kind: "sig", verify: func(_ context.Context, subject, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		switch script[subject.Digest] {
		case good:
			return pass, nil
		case bad:
			return refuse, nil
		default:
			return ratify.Result{}, unavailable
		}
	}}
}

// TestPlatformsAgainstOracle goes through what an index and two manifests can have attached.
func TestPlatformsAgainstOracle(t *testing.T) {
	const absent, states = 3, 4
	amd, arm := manifestFor("amd64"), manifestFor("arm64")
	data := indexOf(t, amd, arm)
	stateOf := map[int]ratify.Outcome{good: ratify.OutcomeVerified, bad: ratify.OutcomeRefused, absent: ratify.OutcomeRefused, unreadable: ratify.OutcomeUnknown}
	both := func(a, b ratify.Outcome) ratify.Outcome {
		switch {
		case a == ratify.OutcomeRefused || b == ratify.OutcomeRefused:
			return ratify.OutcomeRefused
		case a == ratify.OutcomeUnknown || b == ratify.OutcomeUnknown:
			return ratify.OutcomeUnknown
		}
		return ratify.OutcomeVerified
	}
	either := func(a, b ratify.Outcome) ratify.Outcome {
		switch {
		case a == ratify.OutcomeVerified || b == ratify.OutcomeVerified:
			return ratify.OutcomeVerified
		case a == ratify.OutcomeUnknown || b == ratify.OutcomeUnknown:
			return ratify.OutcomeUnknown
		}
		return ratify.OutcomeRefused
	}
	for n := range states * states * states {
		whole, first, second := n%states, n/states%states, n/states/states
		script, l := map[digest.Digest]int{}, lists{}
		repo, index := indexed(data, l)
		for d, state := range map[digest.Digest]int{index.Digest: whole, amd.Digest: first, arm.Digest: second} {
			if state != absent {
				l[d], script[d] = pieces("sig", 1), state
			}
		}
		each := both(stateOf[first], stateOf[second])
		for platforms, want := range map[ratify.Platforms]ratify.Outcome{
			"": stateOf[whole], ratify.PlatformsIndex: stateOf[whole], ratify.PlatformsAll: each, ratify.PlatformsAny: either(stateOf[whole], each),
		} {
			r, err := ask(t, byPlatforms(t, repo, platforms, scriptOf(script)), taggedKey)
			if got := outcomeOf(r, err); got != want {
				t.Errorf("%q of %d, %d, %d: %s, want %s: %s", platforms, whole, first, second, got, want, r.Message)
			}
			if r.Digest != index.Digest || r.Subject != repositoryName+"@"+index.Digest.String() {
				t.Errorf("about %s", r.Subject)
			}
			if platforms == ratify.PlatformsAll && want == ratify.OutcomeRefused {
				named := manifestNamed(r.Message, amd, arm)
				if named.Platform == nil || stateOf[map[digest.Digest]int{amd.Digest: first, arm.Digest: second}[named.Digest]] != ratify.OutcomeRefused {
					t.Errorf("%d, %d: the message names another: %s", first, second, r.Message)
				}
			}
		}
	}
}

// manifestNamed is the manifest that a message names, by platform and digest.
func manifestNamed(message string, manifests ...ocispec.Descriptor) ocispec.Descriptor {
	for _, m := range manifests {
		if strings.Contains(message, fmt.Sprintf("platform linux/%s (%s): ", m.Platform.Architecture, m.Digest)) {
			return m
		}
	}
	return ocispec.Descriptor{}
}

func TestIndexesThatAreOdd(t *testing.T) {
	attestation := manifestFor("unknown")
	attestation.Platform.OS = "unknown"
	half := manifestFor("unknown") // os linux: a runtime may choose it
	unnamed := manifestFor("none")
	unnamed.Platform = nil
	nested, artifact, nameless, negative, blob := manifestFor("a"), manifestFor("b"), manifestFor("c"), manifestFor("d"), manifestFor("e")
	nested.MediaType, nameless.Digest, negative.Size, blob.MediaType = ocispec.MediaTypeImageIndex, "sha256:x", -1, "application/octet-stream"
	artifact.MediaType = ratify.MediaTypeDockerManifestList
	variant := manifestFor("arm")
	variant.Platform.Variant = "v7\x1b[31m"
	many := func(count int, like ocispec.Descriptor) (list []ocispec.Descriptor) {
		for i := range count {
			d := like
			d.Digest = digest.FromString(fmt.Sprint("many ", i))
			list = append(list, d)
		}
		return list
	}
	amd := manifestFor("amd64")
	for _, tc := range []struct {
		name    string
		data    []byte
		code    ratify.Code
		message string
	}{
		{"attestations beside images are no images", indexOf(t, attestation, amd), ratify.Verified, ""},
		{"nothing but attestations", indexOf(t, attestation), ratify.SubjectInvalid, "it lists no image"},
		{"only the architecture is unknown", indexOf(t, half, amd), ratify.NoReferrers, "platform linux/unknown"},
		{"without a platform", indexOf(t, amd, unnamed), ratify.NoReferrers, "platform unnamed"},
		{"a variant", indexOf(t, variant), ratify.NoReferrers, `platform linux/arm/v7\x1b[31m (sha256:`},
		{"the same twice", indexOf(t, amd, amd), ratify.Verified, ""},
		{"an index within", indexOf(t, amd, nested), ratify.SubjectInvalid, "what it lists for linux/a is no image manifest"},
		{"a manifest list within", indexOf(t, amd, artifact), ratify.SubjectInvalid, "what it lists for linux/b is no image manifest"},
		{"a malformed digest", indexOf(t, amd, nameless), ratify.SubjectInvalid, "what it lists for linux/c is no image manifest"},
		{"a negative size", indexOf(t, amd, negative), ratify.SubjectInvalid, "what it lists for linux/d is no image manifest"},
		{"a blob", indexOf(t, amd, blob), ratify.SubjectInvalid, "what it lists for linux/e is no image manifest"},
		{"empty", indexOf(t), ratify.SubjectInvalid, "it lists no image"},
		{"null", []byte(`{"manifests":null}`), ratify.SubjectInvalid, "it lists no image"},
		{"no list", []byte(`{}`), ratify.SubjectInvalid, "it lists no image"},
		{"a list of another kind", []byte(`{"manifests":{}}`), ratify.SubjectInvalid, "not fit for verification by platform"},
		{"not JSON", []byte(`{`), ratify.SubjectInvalid, "not fit for verification by platform"},
		{"thirty-three platforms", indexOf(t, many(33, amd)...), ratify.LimitExceeded, "33 platforms, of which at most 32"},
		{"a hundred manifests", indexOf(t, many(100, attestation)...), ratify.SubjectInvalid, "more than 64 manifests"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			repo, _ := indexed(tc.data, lists{amd.Digest: pieces("sig", 1)})
			r, err := ask(t, byPlatforms(t, repo, ratify.PlatformsAll, &fakeVerifier{kind: "sig", verify: look(pass, nil)}), taggedKey)
			if r.Code != tc.code || !strings.Contains(r.Message, tc.message) {
				t.Errorf("%s %q, want %s %q (%v)", r.Code, r.Message, tc.code, tc.message, err)
			}
		})
	}
}

func TestIndexThatIsUnreadable(t *testing.T) {
	repo, index := indexed(indexOf(t, manifestFor("amd64")), lists{})
	repo.fetch = func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, unavailable }
	v := &fakeVerifier{kind: "sig", verify: look(pass, nil)}
	for _, platforms := range []ratify.Platforms{ratify.PlatformsAll, ratify.PlatformsAny} {
		if r, err := ask(t, byPlatforms(t, repo, platforms, v), taggedKey); r.Code != ratify.RegistryUnavailable {
			t.Errorf("%s: %s (%v)", platforms, r.Code, err)
		}
	}
	repo, _ = indexed(indexOf(t, manifestFor("amd64")), lists{index.Digest: pieces("sig", 1)})
	repo.fetch = nil // evidence on the index is enough for any: its list is not read
	if r, err := ask(t, byPlatforms(t, repo, ratify.PlatformsAny, v), taggedKey); r.Code != ratify.Verified {
		t.Errorf("signed index: %s %s (%v)", r.Code, r.Message, err)
	}
}

// TestOneManifestIsNoIndex: an image for one platform is verified as it is, whatever the policy says of platforms.
func TestOneManifestIsNoIndex(t *testing.T) {
	for _, platforms := range []ratify.Platforms{ratify.PlatformsAll, ratify.PlatformsAny} {
		repo := attached(lists{subjectDescriptor.Digest: pieces("sig", 1)})
		if r, err := ask(t, byPlatforms(t, repo, platforms, &fakeVerifier{kind: "sig", verify: look(pass, nil)}), taggedKey); r.Code != ratify.Verified {
			t.Errorf("%s: %s (%v)", platforms, r.Code, err)
		}
	}
}

// TestPlatformsTogether: the verdict ends with the first of them, is audited if one is, and each is in the report.
func TestPlatformsTogether(t *testing.T) {
	amd, arm := manifestFor("amd64"), manifestFor("arm64")
	results := map[digest.Digest]ratify.Result{}
	v := &fakeVerifier{kind: "sig", verify: func(_ context.Context, subject, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		return results[subject.Digest], nil
	}}
	for _, tc := range []struct {
		name     string
		amd, arm ratify.Result
		code     ratify.Code
		ends     time.Duration
		fresh    time.Duration
	}{
		{"the first ends first", ratify.Result{Passed: true, NotAfter: now.Add(time.Hour)}, ratify.Result{Passed: true, NotAfter: now.Add(2 * time.Hour)}, ratify.Verified, time.Hour, 0},
		{"the second ends first", pass, ratify.Result{Passed: true, NotAfter: now.Add(time.Minute), FreshUntil: now.Add(time.Second)}, ratify.Verified, time.Minute, time.Second},
		{"neither ends", pass, pass, ratify.Verified, 24 * time.Hour, 0},
		{"the first is audited", ratify.Result{Passed: true, Code: ratify.Audited}, pass, ratify.Audited, 24 * time.Hour, 0},
		{"the second is audited", pass, ratify.Result{Passed: true, Code: ratify.Audited}, ratify.Audited, 24 * time.Hour, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			results[amd.Digest], results[arm.Digest] = tc.amd, tc.arm
			repo, _ := indexed(indexOf(t, amd, arm), lists{amd.Digest: pieces("sig", 1), arm.Digest: pieces("sig", 2)[1:]})
			r, err := ask(t, byPlatforms(t, repo, ratify.PlatformsAll, v), taggedKey)
			var fresh time.Time
			if tc.fresh > 0 {
				fresh = now.Add(tc.fresh)
			}
			if r.Code != tc.code || r.NotAfter != now.Add(tc.ends).Unix() || !r.FreshUntil.Equal(fresh) || !slices.Equal(r.DecidedBy, []string{"v"}) {
				t.Errorf("%s until %d, fresh until %s, by %q (%v)", r.Code, r.NotAfter, r.FreshUntil, r.DecidedBy, err)
			}
			if len(r.VerifierReports) != 2 || r.VerifierReports[0].Subject != repositoryName+"@"+amd.Digest.String() || r.VerifierReports[1].Subject != repositoryName+"@"+arm.Digest.String() {
				t.Errorf("reports %+v", r.VerifierReports)
			}
		})
	}
}

// TestPlatformsThatAreSkipped: what asks for nothing asks for nothing of any platform; one verifier that does not skip is
// asked of all.
func TestPlatformsThatAreSkipped(t *testing.T) {
	amd, arm := manifestFor("amd64"), manifestFor("arm64")
	repo, _ := indexed(indexOf(t, amd, arm), lists{amd.Digest: pieces("sig", 1)})
	skips := fakeSkipper{&fakeVerifier{kind: "sig"}, func(ratify.Subject) bool { return true }}
	if r, err := ask(t, byPlatforms(t, repo, ratify.PlatformsAll, skips), taggedKey); r.Code != ratify.Skipped {
		t.Errorf("%s (%v)", r.Code, err)
	}
	setup := ratify.Setup{Policies: everywhere("skips", "v"), Verifiers: []ratify.NamedVerifier{
		{Name: "skips", Type: "fake", Verifier: skips}, {Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: look(pass, nil)}}}}
	setup.Policies[0].Platforms = ratify.PlatformsAll
	r, err := ask(t, newEngine(t, setup, repo), taggedKey)
	if r.Code != ratify.NoReferrers || manifestNamed(r.Message, arm).Digest != arm.Digest || !slices.Equal(r.DecidedBy, []string{"v"}) {
		t.Errorf("%s %q by %q (%v)", r.Code, r.Message, r.DecidedBy, err)
	}
}

// TestPanicOnOnePlatform is contained, and could be told of no other.
func TestPanicOnOnePlatform(t *testing.T) {
	amd, arm := manifestFor("amd64"), manifestFor("arm64")
	repo, _ := indexed(indexOf(t, amd, arm), lists{amd.Digest: pieces("sig", 1)})
	listed := repo.referrers
	repo.referrers = func(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if subject.Digest == arm.Digest {
			panic("boom")
		}
		return listed(ctx, subject)
	}
	r, err := ask(t, byPlatforms(t, repo, ratify.PlatformsAll, &fakeVerifier{kind: "sig", verify: look(pass, nil)}), taggedKey)
	if r.Code != ratify.Internal || err == nil {
		t.Errorf("%s (%v)", r.Code, err)
	}
}

func TestPlatformsAtLoad(t *testing.T) {
	setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{}}}, Policies: everywhere("v")}
	setup.Policies[0].Platforms, setup.Policies[0].Mode = "every", "Audit"
	want := "policies[0] \"default\": mode: expected enforce or audit, got \"Audit\"\npolicies[0] \"default\": platforms: expected index, all or any, got \"every\""
	if _, err := ratify.NewEngine(setup); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestExaminationsAreBounded: what a stranger attaches to every platform and to every document costs no more than the
// bound, whatever he attaches.
func TestExaminationsAreBounded(t *testing.T) {
	var calls, active, most atomic.Int64
	look := func(result ratify.Result) func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
		return func(ctx context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			calls.Add(1)
			if n := active.Add(1); n > most.Load() {
				most.Store(n)
			}
			for range 100 {
				runtime.Gosched() // so that others who may, run beside it
			}
			active.Add(-1)
			// A verifier that waits for proofs gives its place to them, or all would wait for one another.
			_, err := ratify.Prove(ctx, piece("doc", 1))
			if err != nil && ratify.AsError(err).Code != ratify.LimitExceeded {
				t.Error(err)
			}
			return result, nil
		}
	}
	signer := &fakeVerifier{kind: "sig", verify: look(refuse)}
	another := &fakeVerifier{kind: "other", verify: look(pass)}
	manifests := make([]ocispec.Descriptor, 32)
	for i := range manifests {
		manifests[i] = manifestFor(fmt.Sprint(i))
	}
	repo, _ := indexed(indexOf(t, manifests...), nil)
	documents := pieces("doc", ratify.MaxEvidence)
	for i := range documents {
		documents[i].MediaType = ocispec.MediaTypeImageManifest
	}
	repo.referrers = func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if subject.MediaType == ocispec.MediaTypeImageManifest && subject.Size == manifests[0].Size {
			return documents, nil
		}
		if subject.Digest == documents[0].Digest {
			return pieces("other", 1), nil // it is proven, and its verifier asks for proofs of others
		}
		return pieces("sig", ratify.MaxEvidence), nil
	}
	setup := ratify.Setup{
		Verifiers: []ratify.NamedVerifier{
			{Name: "signer", Verifier: signer}, {Name: "another", Verifier: another},
			{Name: "v", SignedBy: []string{"signer", "another"}, Verifier: fakeDocuments{&fakeVerifier{kind: "doc", verify: look(pass)}, ratify.PiecesAll, false}},
		},
		Policies: everywhere("v"),
	}
	setup.Policies[0].Platforms = ratify.PlatformsAll
	if r, _ := ask(t, newEngine(t, setup, repo), taggedKey); r.IsSuccess {
		t.Errorf("%+v", r)
	}
	if n := calls.Load(); n < 300 || n > 500 {
		t.Errorf("%d examinations", n)
	}
	if n := most.Load(); n > 4 {
		t.Errorf("%d at the same time", n)
	}
}
