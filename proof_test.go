package ratify_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

type lists = map[digest.Digest][]ocispec.Descriptor

// documented is an image with documents; each has the given number of signatures.
func documented(documents, signatures int) lists {
	l := lists{subjectDescriptor.Digest: pieces("doc", documents)}
	for i := range documents {
		for n := range signatures {
			signature := piece(fmt.Sprintf("sig of %d", i), n)
			signature.ArtifactType = "sig"
			l[piece("doc", i).Digest] = append(l[piece("doc", i).Digest], signature)
		}
	}
	return l
}

// provenBy is an engine whose documents are judged by one verifier and proven by others.
func provenBy(t *testing.T, repo ratify.Repository, document ratify.Verifier, provers ...ratify.Verifier) *ratify.Engine {
	t.Helper()
	setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "docs", Type: "fake", Verifier: document}}, Policies: everywhere("docs")}
	for i, v := range provers {
		name := fmt.Sprintf("prover-%d", i)
		setup.Verifiers = append(setup.Verifiers, ratify.NamedVerifier{Name: name, Type: "fake", Verifier: v})
		setup.Verifiers[0].SignedBy = append(setup.Verifiers[0].SignedBy, name)
	}
	return newEngine(t, setup, repo)
}

func documents(verify func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error)) fakeDocuments {
	return fakeDocuments{&fakeVerifier{kind: "doc", verify: verify}, ratify.PiecesAll, false}
}

func TestSignedBy(t *testing.T) {
	signer := func(result ratify.Result, err error) ratify.Verifier {
		return &fakeVerifier{kind: "sig", verify: look(result, err)}
	}
	blob := piece("doc", 0)
	blob.MediaType = "application/octet-stream"
	nameless := piece("doc", 0)
	nameless.Digest = "sha256:x"
	for _, tc := range []struct {
		name    string
		lists   lists
		prover  ratify.Verifier
		finds   ratify.Result // what the verifier of documents does
		code    ratify.Code
		message string
		read    bool // whether a document was
	}{
		{"proven", documented(1, 1), signer(pass, nil), pass, ratify.Verified, "verification succeeded", true},
		{"proven, and it refuses", documented(1, 1), signer(pass, nil), ratify.Result{Code: ratify.LicenseDisallowed}, ratify.LicenseDisallowed, "", true},
		{"proven, and it refuses as if it were not", documented(1, 1), signer(pass, nil), ratify.Result{Code: ratify.LicenseDisallowed, Unproven: true}, ratify.LicenseDisallowed, "", true},
		{"nobody signed it", documented(1, 0), signer(pass, nil), pass, ratify.EvidenceUnproven,
			"nobody who is trusted vouches for the document: no referrers found for this artifact", false},
		{"a stranger signed it", documented(1, 1), signer(refuse, nil), pass, ratify.EvidenceUnproven,
			"nobody who is trusted vouches for the document: signature is not produced by a trusted signer", false},
		{"its signature is unreadable", documented(1, 1), signer(pass, unavailable), pass, ratify.RegistryUnavailable, "", false},
		{"its signatures are more than are examined", documented(1, ratify.MaxEvidence+1), signer(refuse, nil), pass, ratify.LimitExceeded, "21 pieces", false},
		{"it is no artifact", lists{subjectDescriptor.Digest: {blob}}, signer(pass, nil), pass, ratify.EvidenceUnproven, "it is no artifact that can be signed on its own", false},
		{"it has no name", lists{subjectDescriptor.Digest: {nameless}}, signer(pass, nil), pass, ratify.EvidenceUnproven, "it is no artifact that can be signed on its own", false},
		{"nothing is attached", lists{}, signer(pass, nil), pass, ratify.NoReferrers, "", false},
		{"its signer is skipped", documented(1, 1), fakeSkipper{&fakeVerifier{kind: "sig"}, func(ratify.Subject) bool { return true }}, pass, ratify.EvidenceUnproven, "asks for no verification here", false},
		{"its signer only audits", documented(1, 1), signer(ratify.Result{Passed: true, Code: ratify.Audited}, nil), pass, ratify.EvidenceUnproven, "only logs", false},
		{"its signer only audits that there is none", documented(1, 0), fakeJudge{&fakeVerifier{kind: "sig"}, func(ratify.Subject) (ratify.Result, bool) {
			return ratify.Result{Passed: true, Code: ratify.Audited}, true
		}}, pass, ratify.EvidenceUnproven, "only logs", false},
		{"its signature has ended", documented(1, 1), signer(ratify.Result{Passed: true, NotAfter: now}, nil), pass, ratify.EvidenceUnproven, "the signature has expired", false},
		{"its signer panics", documented(1, 1), &fakeVerifier{kind: "sig", verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
			panic("boom")
		}}, pass, ratify.Internal, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			read := false
			v := documents(func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
				read = true
				return tc.finds, nil
			})
			r, err := ask(t, provenBy(t, attached(tc.lists), v, tc.prover), taggedKey)
			if r.Code != tc.code || !strings.Contains(r.Message, tc.message) || read != tc.read {
				t.Errorf("%s %q, read %t, want %s %q, read %t (%v)", r.Code, r.Message, read, tc.code, tc.message, tc.read, err)
			}
		})
	}
}

// TestListOfADocumentUnreadable: whether somebody vouches for it cannot be told, so neither can it about the image.
func TestListOfADocumentUnreadable(t *testing.T) {
	repo := attached(nil)
	repo.referrers = func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if subject.Digest == subjectDescriptor.Digest {
			return pieces("doc", 1), nil
		}
		return nil, unavailable
	}
	v := documents(look(pass, nil))
	if r, err := ask(t, provenBy(t, repo, v, &fakeVerifier{kind: "sig"}), taggedKey); r.Code != ratify.RegistryUnavailable {
		t.Errorf("%s %s (%v)", r.Code, r.Message, err)
	}
}

// TestProofIsAboutTheDocument: who proves sees the document as the subject, under the name of the image, and his report is
// within the document's.
func TestProofIsAboutTheDocument(t *testing.T) {
	document := piece("doc", 0)
	signer := &fakeVerifier{kind: "sig", verify: func(_ context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
		if subject.Digest != document.Digest || subject.Size != document.Size || subject.MediaType != document.MediaType || repo.Name() != repositoryName {
			return ratify.Result{}, fmt.Errorf("asked about %+v in %s", subject, repo.Name())
		}
		return ratify.Result{Passed: true, NotAfter: now.Add(time.Hour), FreshUntil: now.Add(time.Minute), Extensions: map[string]any{"signer": "ci"}}, nil
	}}
	v := documents(look(ratify.Result{Passed: true, NotAfter: now.Add(2 * time.Hour), FreshUntil: now.Add(time.Hour)}, nil))
	r, err := ask(t, provenBy(t, attached(documented(1, 1)), v, signer), taggedKey)
	if r.Code != ratify.Verified || r.NotAfter != now.Add(time.Hour).Unix() || !r.FreshUntil.Equal(now.Add(time.Minute)) {
		t.Errorf("%s until %d, fresh until %s (%v)", r.Code, r.NotAfter, r.FreshUntil, err)
	}
	if len(r.VerifierReports) != 1 || len(r.VerifierReports[0].NestedReports) != 1 {
		t.Fatalf("reports %+v", r.VerifierReports)
	}
	outer, inner := r.VerifierReports[0], r.VerifierReports[0].NestedReports[0]
	if inner.Subject != repositoryName+"@"+document.Digest.String() || !inner.IsSuccess || inner.Name != "prover-0" || inner.Extensions["signer"] != "ci" {
		t.Errorf("nested %+v", inner)
	}
	if outer.Subject != repositoryName+"@"+subjectDescriptor.Digest.String() || outer.Reference != document.Digest || outer.Name != "docs" {
		t.Errorf("report %+v", outer)
	}

	v = documents(look(ratify.Result{Passed: true, NotAfter: now.Add(time.Minute)}, nil))
	if r, err := ask(t, provenBy(t, attached(documented(1, 1)), v, signer), taggedKey); r.NotAfter != now.Add(time.Minute).Unix() {
		t.Errorf("the document ends first: until %d (%v)", r.NotAfter, err)
	}
}

// TestStrangersDocumentsDecideNothing: beside a proven document those of strangers neither admit nor refuse, and a proven
// document of another image that was listed here does not, either.
func TestStrangersDocumentsDecideNothing(t *testing.T) {
	l := documented(4, 0)
	proven := piece("sig", 77)
	l[piece("doc", 1).Digest] = []ocispec.Descriptor{proven}
	l[piece("doc", 2).Digest] = []ocispec.Descriptor{proven}
	for _, tc := range []struct {
		name   string
		result ratify.Result
		code   ratify.Code
	}{
		{"the proven one passes", pass, ratify.Verified},
		{"the proven one refuses", ratify.Result{Code: ratify.PackageDisallowed}, ratify.PackageDisallowed},
	} {
		for _, mode := range []ratify.Pieces{ratify.PiecesAny, ratify.PiecesAll, ratify.PiecesNewest} {
			v := documents(func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
				switch e.Digest {
				case piece("doc", 1).Digest:
					return tc.result, nil
				case piece("doc", 2).Digest:
					return ratify.Result{}, &ratify.Error{Code: ratify.SubjectMismatch}
				}
				t.Error("a stranger's document was read")
				return pass, nil
			})
			v.pieces = mode
			r, err := ask(t, provenBy(t, attached(l), v, &fakeVerifier{kind: "sig", verify: look(pass, nil)}), taggedKey)
			if r.Code != tc.code {
				t.Errorf("%s, %s: %s %q (%v)", tc.name, mode, r.Code, r.Message, err)
			}
		}
	}
}

// TestProvenAndMalformedRefuses: what somebody trusted vouches for and cannot be read as what it is, is his to mend.
func TestProvenAndMalformedRefuses(t *testing.T) {
	v := documents(func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		if e.Digest == piece("doc", 0).Digest {
			return pass, nil
		}
		return ratify.Result{}, &ratify.Error{Code: ratify.EvidenceInvalid}
	})
	if r, err := ask(t, provenBy(t, attached(documented(2, 1)), v, &fakeVerifier{kind: "sig", verify: look(pass, nil)}), taggedKey); r.Code != ratify.EvidenceInvalid {
		t.Errorf("%s %q (%v)", r.Code, r.Message, err)
	}
}

// TestOneProverIsEnough: a prover that asks for nothing, or only audits, hides none that proves.
func TestOneProverIsEnough(t *testing.T) {
	skips := fakeSkipper{&fakeVerifier{kind: "sig"}, func(ratify.Subject) bool { return true }}
	audits := &fakeVerifier{kind: "sig", verify: look(ratify.Result{Passed: true, Code: ratify.Audited}, nil)}
	refuses := &fakeVerifier{kind: "sig", verify: look(refuse, nil)}
	good := &fakeVerifier{kind: "sig", verify: look(pass, nil)}
	v := documents(look(pass, nil))
	if r, err := ask(t, provenBy(t, attached(documented(1, 3)), v, skips, audits, refuses, good), taggedKey); r.Code != ratify.Verified {
		t.Errorf("%s %q (%v)", r.Code, r.Message, err)
	}
	if r, err := ask(t, provenBy(t, attached(documented(1, 3)), v, skips, audits, refuses), taggedKey); r.Code != ratify.EvidenceUnproven {
		t.Errorf("none proves: %s %q (%v)", r.Code, r.Message, err)
	}
}

// TestOneVerifierInSeveralPlaces: it proves documents, and images under two policies.
func TestOneVerifierInSeveralPlaces(t *testing.T) {
	var mu sync.Mutex
	subjects := map[digest.Digest]int{}
	signer := &fakeVerifier{kind: "sig", verify: func(_ context.Context, subject, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		subjects[subject.Digest]++
		return pass, nil
	}}
	l := documented(1, 1)
	l[subjectDescriptor.Digest] = append(l[subjectDescriptor.Digest], piece("sig", 50))
	e := newEngine(t, ratify.Setup{
		Verifiers: []ratify.NamedVerifier{{Name: "sig", Type: "fake", Verifier: signer}, {Name: "docs", Type: "fake", Verifier: documents(look(pass, nil)), SignedBy: []string{"sig"}}},
		Policies: []ratify.Policy{
			{Name: "both", Scopes: []string{"*"}, Verifiers: []string{"sig", "docs"}},
			{Name: "other", Scopes: []string{"other.example/*"}, Verifiers: []string{"sig"}},
		},
	}, attached(l))
	for key, want := range map[string]string{taggedKey: "both", "other.example/app:v1": "other"} {
		if r, err := ask(t, e, key); r.Code != ratify.Verified || r.Policy != want {
			t.Errorf("%s: %s under %s (%v)", key, r.Code, r.Policy, err)
		}
	}
	if subjects[subjectDescriptor.Digest] != 2 || subjects[piece("doc", 0).Digest] != 1 {
		t.Errorf("asked about %v", subjects)
	}
}

// TestDocumentCannotProveItself: a prover that takes documents for evidence does not get to see the one that is to be
// proven, unless somebody lists it as attached to itself; then it is read as evidence of another artifact.
func TestDocumentCannotProveItself(t *testing.T) {
	greedy := fakeDocuments{&fakeVerifier{match: func(ocispec.Descriptor) bool { return true }, verify: func(_ context.Context, subject, evidence ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		if subject.Digest == evidence.Digest {
			return ratify.Result{}, &ratify.Error{Code: ratify.SubjectMismatch}
		}
		return pass, nil
	}}, ratify.PiecesAny, true}
	v := documents(look(pass, nil))
	l := documented(1, 0)
	if r, err := ask(t, provenBy(t, attached(l), v, greedy), taggedKey); r.Code != ratify.EvidenceUnproven {
		t.Errorf("%s %q (%v)", r.Code, r.Message, err)
	}
	l[piece("doc", 0).Digest] = pieces("doc", 1)
	if r, err := ask(t, provenBy(t, attached(l), v, greedy), taggedKey); r.Code != ratify.EvidenceUnproven {
		t.Errorf("attached to itself: %s %q (%v)", r.Code, r.Message, err)
	}
}

// TestProve is how a verifier asks about a document beside the one that it examines: its result rests on that, too.
func TestProve(t *testing.T) {
	vex := piece("vex", 0)
	l := documented(1, 1)
	signature := piece("sig", 60)
	l[vex.Digest] = []ocispec.Descriptor{signature}
	signer := func(ends time.Duration) ratify.Verifier {
		return &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, evidence ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			if evidence.Digest == signature.Digest {
				return ratify.Result{Passed: true, NotAfter: now.Add(ends), FreshUntil: now.Add(ends / 2)}, nil
			}
			return ratify.Result{Passed: true, NotAfter: now.Add(3 * time.Hour)}, nil
		}}
	}
	asks := func(about ocispec.Descriptor) fakeDocuments {
		return documents(func(ctx context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			proven, err := ratify.Prove(ctx, about)
			return ratify.Result{Passed: proven, Code: ratify.VulnerabilityFound}, err
		})
	}
	r, err := ask(t, provenBy(t, attached(l), asks(vex), signer(time.Hour)), taggedKey)
	if r.Code != ratify.Verified || r.NotAfter != now.Add(time.Hour).Unix() || !r.FreshUntil.Equal(now.Add(30*time.Minute)) {
		t.Errorf("proven: %s until %d, fresh until %s (%v)", r.Code, r.NotAfter, r.FreshUntil, err)
	}
	if r, err := ask(t, provenBy(t, attached(l), asks(piece("vex", 1)), signer(time.Hour)), taggedKey); r.Code != ratify.VulnerabilityFound {
		t.Errorf("not proven: %s (%v)", r.Code, err)
	}
	down := attached(l)
	down.referrers = func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if subject.Digest == vex.Digest {
			return nil, unavailable
		}
		return l[subject.Digest], nil
	}
	if r, err := ask(t, provenBy(t, down, asks(vex), signer(time.Hour)), taggedKey); r.Code != ratify.RegistryUnavailable {
		t.Errorf("could not be told: %s (%v)", r.Code, err)
	}
	if proven, err := ratify.Prove(t.Context(), vex); proven || err != nil {
		t.Errorf("outside of an examination: %t (%v)", proven, err)
	}
	alone := fakeDocuments{asks(vex).fakeVerifier, ratify.PiecesAll, true}
	if r, err := ask(t, newEngine(t, ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "docs", Type: "fake", Verifier: alone}}, Policies: everywhere("docs")}, attached(l)), taggedKey); r.Code != ratify.VulnerabilityFound {
		t.Errorf("without signedBy: %s (%v)", r.Code, err)
	}
}

// TestProversCannotAskForProofs: or there would be no end to it.
func TestProversCannotAskForProofs(t *testing.T) {
	vex := piece("vex", 0)
	l := documented(1, 1)
	l[vex.Digest] = []ocispec.Descriptor{piece("sig", 60)}
	var asked atomic.Int32
	prover := fakeDocuments{&fakeVerifier{kind: "sig", verify: func(ctx context.Context, subject, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		if subject.Digest != vex.Digest || asked.Add(1) > 3 {
			return pass, nil
		}
		proven, err := ratify.Prove(ctx, vex)
		return ratify.Result{Passed: proven}, err
	}}, ratify.PiecesAll, true}
	v := documents(func(ctx context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		proven, err := ratify.Prove(ctx, vex)
		return ratify.Result{Passed: proven, Code: ratify.VulnerabilityFound}, err
	})
	r, err := ask(t, provenBy(t, attached(l), v, prover), taggedKey)
	if r.Code != ratify.VulnerabilityFound || asked.Load() != 1 {
		t.Errorf("%s, asked %d times (%v)", r.Code, asked.Load(), err)
	}
}

func TestSignedByAtLoad(t *testing.T) {
	signer := ratify.NamedVerifier{Name: "sig", Type: "fake", Verifier: &fakeVerifier{}}
	doc := func(name string, signedBy ...string) ratify.NamedVerifier {
		return ratify.NamedVerifier{Name: name, Type: "fake", Verifier: fakeDocuments{&fakeVerifier{}, ratify.PiecesNewest, false}, SignedBy: signedBy}
	}
	own := ratify.NamedVerifier{Name: "own", Type: "fake", Verifier: fakeDocuments{&fakeVerifier{}, ratify.PiecesNewest, true}}
	with := func(v ratify.NamedVerifier, evidence ratify.Pieces, signedBy ...string) ratify.NamedVerifier {
		v.Evidence, v.SignedBy = evidence, signedBy
		return v
	}
	for _, tc := range []struct {
		name      string
		verifiers []ratify.NamedVerifier
		uses      []string
		want      []string
	}{
		{"a prover needs no policy", []ratify.NamedVerifier{doc("docs", "sig"), signer}, []string{"docs"}, nil},
		{"documents that prove themselves prove others", []ratify.NamedVerifier{doc("docs", "own"), own}, []string{"docs"}, nil},
		{"who proves himself needs nobody", []ratify.NamedVerifier{own}, []string{"own"}, nil},
		{"nobody vouches", []ratify.NamedVerifier{doc("docs")}, []string{"docs"}, []string{`verifiers[0] "docs": signedBy: nothing says who may vouch`}},
		{"no such verifier", []ratify.NamedVerifier{doc("docs", "x")}, []string{"docs"}, []string{`verifiers[0] "docs": signedBy: there is no verifier "x" (known: docs)`}},
		{"himself", []ratify.NamedVerifier{doc("docs", "docs")}, []string{"docs"}, []string{`verifiers[0] "docs": signedBy: the evidence of "docs" must be proven itself`}},
		{"a chain", []ratify.NamedVerifier{doc("docs", "more"), doc("more", "sig"), signer}, []string{"docs"}, []string{`verifiers[0] "docs": signedBy: the evidence of "more" must be proven itself`}},
		{"a chain, the other way round", []ratify.NamedVerifier{signer, doc("more", "sig"), doc("docs", "more")}, []string{"docs"}, []string{`verifiers[2] "docs": signedBy: the evidence of "more" must be proven itself`}},
		{"signatures", []ratify.NamedVerifier{with(signer, "", "own"), own}, []string{"sig", "own"}, []string{`verifiers[0] "sig": signedBy: it is for verifiers of documents`}},
		{"the newest signature", []ratify.NamedVerifier{with(signer, ratify.PiecesNewest)}, []string{"sig"}, []string{`verifiers[0] "sig": evidence: newest is for verifiers of documents`}},
		{"some", []ratify.NamedVerifier{with(own, "some")}, []string{"own"}, []string{`verifiers[0] "own": evidence: expected any, all or newest, got "some"`}},
		{"one that could not be made", []ratify.NamedVerifier{{Name: "docs", Type: "fake", SignedBy: []string{"sig"}}, signer}, []string{"docs"}, nil},
		{"nobody uses the document's", []ratify.NamedVerifier{doc("docs", "sig"), signer}, []string{"sig"}, []string{`verifiers[0] "docs": no policy uses it`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ratify.NewEngine(ratify.Setup{Verifiers: tc.verifiers, Policies: everywhere(tc.uses...)})
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if !slices.EqualFunc(lines, tc.want, strings.HasPrefix) {
				t.Errorf("errors %q, want %q", lines, tc.want)
			}
		})
	}
}

// TestProversDecideAsTheyDo: how several pieces decide is the prover's own, wherever it stands in the file.
func TestProversDecideAsTheyDo(t *testing.T) {
	prover := ratify.NamedVerifier{Name: "own", Type: "fake", Verifier: fakeDocuments{&fakeVerifier{kind: "sig", verify: func(_ context.Context, _, evidence ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		refused := piece("sig of 0", 1).Digest == evidence.Digest
		return ratify.Result{Passed: !refused, Code: ratify.EvidenceTooOld}, nil
	}}, ratify.PiecesAll, true}}
	docs := ratify.NamedVerifier{Name: "docs", Type: "fake", Verifier: documents(look(pass, nil)), SignedBy: []string{"own"}}
	for _, verifiers := range [][]ratify.NamedVerifier{{prover, docs}, {docs, prover}} {
		e := newEngine(t, ratify.Setup{Verifiers: verifiers, Policies: everywhere("docs")}, attached(documented(1, 2)))
		if r, err := ask(t, e, taggedKey); r.Code != ratify.EvidenceUnproven {
			t.Errorf("%s first: %s %q (%v)", verifiers[0].Name, r.Code, r.Message, err)
		}
	}
}

// TestBuriedSignatures: who may push can bury the signature of a document under others that are none. What is not looked at
// must not make the document as good as absent: an older one would take its place.
func TestBuriedSignatures(t *testing.T) {
	for _, junk := range []int{ratify.MaxEvidence - 1, ratify.MaxEvidence, ratify.MaxReferrers + 100} {
		for _, mode := range []ratify.Pieces{ratify.PiecesAll, ratify.PiecesNewest} {
			old, buried := piece("doc", 1), piece("doc", 2)
			signature := func(n int) ocispec.Descriptor { return piece("sig", n) }
			l := lists{subjectDescriptor.Digest: {old, buried}, old.Digest: {signature(0)}}
			for n := range junk {
				l[buried.Digest] = append(l[buried.Digest], signature(n+1))
			}
			l[buried.Digest] = append(l[buried.Digest], signature(0))
			setup := ratify.Setup{
				Verifiers: []ratify.NamedVerifier{
					{Name: "signer", Verifier: &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
						return ratify.Result{Passed: e.Digest == signature(0).Digest, Code: ratify.UntrustedSigner}, nil
					}}},
					{Name: "doc", SignedBy: []string{"signer"}, Evidence: mode, Verifier: fakeDocuments{&fakeVerifier{kind: "doc", verify: func(ctx context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
						if proven, err := ratify.Prove(ctx, buried); junk >= ratify.MaxEvidence && (proven || ratify.AsError(err).Code != ratify.LimitExceeded) {
							t.Errorf("%d: Prove says %t, %v", junk, proven, err)
						}
						if e.Digest == buried.Digest {
							return ratify.Result{Code: ratify.VulnerabilityFound, Made: now}, nil
						}
						return ratify.Result{Passed: true, Made: now.Add(-time.Hour)}, nil
					}}, mode, false}},
				},
				Policies: everywhere("doc"),
			}
			want := ratify.LimitExceeded
			if junk < ratify.MaxEvidence {
				want = ratify.VulnerabilityFound
			}
			if r, _ := ask(t, newEngine(t, setup, attached(l)), taggedKey); r.IsSuccess || r.Code != want {
				t.Errorf("%d others, %s: %s %s", junk, mode, r.Code, r.Message)
			}
		}
	}
}

// TestRuleSeesWhatDecides: a document that a newer one has taken the place of says nothing any more.
func TestRuleSeesWhatDecides(t *testing.T) {
	old, newer := piece("doc", 1), piece("doc", 2)
	var seen []string
	setup := ratify.Setup{
		Verifiers: []ratify.NamedVerifier{{Name: "doc", Verifier: fakeDocuments{&fakeVerifier{kind: "doc", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			made := now
			if e.Digest == old.Digest {
				made = now.Add(-time.Hour)
			}
			return ratify.Result{Passed: true, Made: made}, nil
		}}, ratify.PiecesNewest, true}}},
		Policies: everywhere("doc"),
		CompileRule: func(string) (ratify.Rule, error) {
			return fakeRule(func(_ context.Context, claims ratify.Claims) (bool, error) {
				for _, c := range claims.Evidence {
					seen = append(seen, c.Reference)
				}
				return true, nil
			}), nil
		},
	}
	setup.Policies[0].Rule = "any"
	if r, err := ask(t, newEngine(t, setup, attached(lists{subjectDescriptor.Digest: {old, newer}})), taggedKey); r.Code != ratify.Verified || !slices.Equal(seen, []string{newer.Digest.String()}) {
		t.Errorf("%s (%v), the rule saw %s", r.Code, err, seen)
	}
}

// TestALieAboutAProvenDocument: who lists a document a second time, with another size, says nothing of it.
func TestALieAboutAProvenDocument(t *testing.T) {
	l := documented(1, 1)
	lie := l[subjectDescriptor.Digest][0]
	lie.Size++
	l[subjectDescriptor.Digest] = append(l[subjectDescriptor.Digest], lie)
	repo := attached(l)
	repo.fetch = func(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
		if desc.Size == lie.Size {
			return nil, &ratify.Error{Code: ratify.EvidenceInvalid, Message: "a descriptor says otherwise"}
		}
		return nil, nil
	}
	reads := documents(func(ctx context.Context, _, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
		_, err := repo.Fetch(ctx, evidence)
		return pass, err
	})
	signer := &fakeVerifier{kind: "sig", verify: look(pass, nil)}
	if r, err := ask(t, provenBy(t, repo, reads, signer), taggedKey); r.Code != ratify.Verified {
		t.Errorf("%s: %s (%v)", r.Code, r.Message, err)
	}
}
