package ratify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

type fakeStore struct {
	open func(ctx context.Context, s ratify.Subject) (subject, evidence ratify.Repository, err error)
}

func (f fakeStore) Open(ctx context.Context, s ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	return f.open(ctx, s)
}

// fakeRepository fails whatever no function was given for.
type fakeRepository struct {
	name      string
	resolve   func(ctx context.Context, reference string) (ocispec.Descriptor, error)
	referrers func(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error)
	fetch     func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
}

func (f *fakeRepository) Name() string { return f.name }

func (f *fakeRepository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if f.resolve == nil {
		return ocispec.Descriptor{}, errors.New("unexpected Resolve")
	}
	return f.resolve(ctx, reference)
}

func (f *fakeRepository) Referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if f.referrers == nil {
		return nil, errors.New("unexpected Referrers")
	}
	return f.referrers(ctx, subject)
}

func (f *fakeRepository) Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if f.fetch == nil {
		return nil, errors.New("unexpected Fetch")
	}
	return f.fetch(ctx, desc)
}

// fakeVerifier matches the artifact type that it is named after, unless match says otherwise.
type fakeVerifier struct {
	kind   string
	match  func(evidence ocispec.Descriptor) bool
	verify func(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error)
}

func (f *fakeVerifier) Match(evidence ocispec.Descriptor) bool {
	if f.match != nil {
		return f.match(evidence)
	}
	return evidence.ArtifactType == f.kind
}

func (f *fakeVerifier) Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	if f.verify == nil {
		return ratify.Result{}, errors.New("unexpected Verify")
	}
	return f.verify(ctx, subject, evidence, repo)
}

// The optional interfaces, each beside the verifier.
type fakeFinder struct {
	*fakeVerifier
	find func(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error)
}

func (f fakeFinder) Find(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
	return f.find(ctx, subject, repo)
}

type fakeSkipper struct {
	*fakeVerifier
	skip func(s ratify.Subject) bool
}

func (f fakeSkipper) Skip(s ratify.Subject) bool { return f.skip(s) }

type fakeJudge struct {
	*fakeVerifier
	absent func(s ratify.Subject) (ratify.Result, bool)
}

func (f fakeJudge) Absent(s ratify.Subject) (ratify.Result, bool) { return f.absent(s) }

const (
	repositoryName = "registry.example/app"
	taggedKey      = repositoryName + ":v1"
)

// subjectDescriptor is what taggedKey resolves to.
var subjectDescriptor = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("the image"), Size: 9}

// now is the clock of the engines under test.
var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// piece is a descriptor of evidence of one kind; n keeps them apart.
func piece(kind string, n int) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: kind,
		Digest: digest.FromString(fmt.Sprintf("%s %d", kind, n)), Size: 100,
	}
}

func pieces(kind string, n int) []ocispec.Descriptor {
	var list []ocispec.Descriptor
	for i := range n {
		list = append(list, piece(kind, i))
	}
	return list
}

// world is a setup with one repository; each test changes what it is about.
type world struct {
	repo      *fakeRepository
	verifiers []ratify.NamedVerifier
	require   ratify.Require
	onPanic   func(traceID string, value any, stack []byte)
	now       func() time.Time
}

// newWorld has an image with the given evidence, and a verifier for each, named a, b, c….
func newWorld(evidence []ocispec.Descriptor, verifiers ...ratify.Verifier) *world {
	w := &world{now: func() time.Time { return now }, repo: &fakeRepository{
		name:    repositoryName,
		resolve: func(context.Context, string) (ocispec.Descriptor, error) { return subjectDescriptor, nil },
		referrers: func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			return evidence, nil
		},
	}}
	for i, v := range verifiers {
		w.verifiers = append(w.verifiers, ratify.NamedVerifier{Name: string(rune('a' + i)), Type: "fake", Verifier: v})
	}
	return w
}

func (w *world) engine(t testing.TB) *ratify.Engine {
	t.Helper()
	store := fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
		return w.repo, w.repo, nil
	}}
	return w.engineOn(t, store)
}

func (w *world) engineOn(t testing.TB, store ratify.Store) *ratify.Engine {
	t.Helper()
	policy := ratify.Policy{Name: "default", Scopes: []string{"*"}, Require: w.require}
	for _, v := range w.verifiers {
		policy.Verifiers = append(policy.Verifiers, v.Name)
	}
	e, err := ratify.NewEngine(ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "fake", Scopes: []string{"*"}, Store: store}},
		Verifiers: w.verifiers, Policies: []ratify.Policy{policy}, Now: w.now, OnPanic: w.onPanic,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustParse(t testing.TB, key string) ratify.Subject {
	t.Helper()
	s, err := ratify.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verify asks the world about its image and checks what must hold of every answer.
func (w *world) verify(t testing.TB) (*ratify.Report, error) {
	t.Helper()
	r, err := w.engine(t).Verify(t.Context(), mustParse(t, taggedKey))
	checkReport(t, r, err)
	return r, err
}

// checkReport holds what every answer must be like, whatever happened.
func checkReport(t testing.TB, r *ratify.Report, err error) {
	t.Helper()
	if r == nil {
		t.Fatal("the report is nil")
	}
	passes := 0
	for _, v := range r.VerifierReports {
		if v.IsSuccess {
			passes++
		}
	}
	switch outcome := outcomeOf(r, err); {
	case r.IsSuccess != r.Succeeded:
		t.Errorf("isSuccess %t, succeeded %t", r.IsSuccess, r.Succeeded)
	case r.Code == ratify.WouldBeRefused:
		if err != nil || !r.IsSuccess || r.NotAfter <= now.Unix() || r.WouldBeCode.Info().Outcome == ratify.OutcomeVerified ||
			!strings.HasPrefix(r.Message, "would be refused: verification failed: ") || r.Remedy == "" {
			t.Errorf("would be refused with error %v, code %q, notAfter %d, message %q, remedy %q", err, r.WouldBeCode, r.NotAfter, r.Message, r.Remedy)
		}
	case r.WouldBeCode != "":
		t.Errorf("%s with wouldBeCode %s", r.Code, r.WouldBeCode)
	case r.Code == ratify.Exempt:
		if err != nil || !r.IsSuccess || r.NotAfter <= now.Unix() || passes != 0 || r.Remedy != "" {
			t.Errorf("exempt with error %v, %d passes, notAfter %d, remedy %q", err, passes, r.NotAfter, r.Remedy)
		}
	case outcome == ratify.OutcomeVerified && (err != nil || passes == 0 || r.NotAfter <= now.Unix() || r.Remedy != ""):
		t.Errorf("verified with error %v, %d passes, notAfter %d, remedy %q", err, passes, r.NotAfter, r.Remedy)
	case outcome == ratify.OutcomeVerified && r.Code.Info().Outcome != ratify.OutcomeVerified:
		t.Errorf("verified with the code %s", r.Code)
	case outcome != ratify.OutcomeVerified && (r.NotAfter != 0 || r.Remedy == "" || !strings.HasPrefix(r.Message, "verification failed: ")):
		t.Errorf("not verified with notAfter %d, message %q, remedy %q", r.NotAfter, r.Message, r.Remedy)
	case outcome == ratify.OutcomeRefused && !r.Code.Definitive():
		t.Errorf("refused with the code %s", r.Code)
	case outcome == ratify.OutcomeUnknown && r.Code.Info().Outcome != ratify.OutcomeUnknown:
		t.Errorf("could not tell, with the code %s", r.Code)
	}
	if r.Version != "1.0" || r.TraceID == "" || r.Timestamp.IsZero() || r.VerifierReports == nil || r.Subject == "" {
		t.Errorf("incomplete report: %+v", r)
	}
	var problem *ratify.Error
	if err != nil && (!errors.As(err, &problem) || problem.Code != r.Code) {
		t.Errorf("error %v and report %s do not say the same", err, r.Code)
	}
}

// outcomeOf reads the outcome from what the caller gets, and from nothing else.
func outcomeOf(r *ratify.Report, err error) ratify.Outcome {
	switch {
	case err != nil:
		return ratify.OutcomeUnknown
	case r.IsSuccess:
		return ratify.OutcomeVerified
	default:
		return ratify.OutcomeRefused
	}
}

// look returns a verifier's function that always finds the same.
func look(result ratify.Result, err error) func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
	return func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
		return result, err
	}
}

// Shorthands for results.
var (
	pass        = ratify.Result{Passed: true}
	refuse      = ratify.Result{Code: ratify.UntrustedSigner}
	unavailable = &ratify.Error{Code: ratify.RegistryUnavailable}
)

// fakeDocuments is a verifier of documents.
type fakeDocuments struct {
	*fakeVerifier
	pieces ratify.Pieces
	proves bool
}

func (f fakeDocuments) Documents() (ratify.Pieces, bool) { return f.pieces, f.proves }

// newEngine makes an engine of a setup, which gets the repository and the clock of the tests where it has none.
func newEngine(t testing.TB, setup ratify.Setup, repo ratify.Repository) *ratify.Engine {
	t.Helper()
	if setup.Stores == nil {
		store := fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
			return repo, repo, nil
		}}
		setup.Stores = []ratify.NamedStore{{Name: "fake", Scopes: []string{"*"}, Store: store}}
	}
	if setup.Now == nil {
		setup.Now = func() time.Time { return now }
	}
	e, err := ratify.NewEngine(setup)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// attached is a repository in which each digest has the given referrers, and whose image is subjectDescriptor.
func attached(lists map[digest.Digest][]ocispec.Descriptor) *fakeRepository {
	return &fakeRepository{
		name:    repositoryName,
		resolve: func(context.Context, string) (ocispec.Descriptor, error) { return subjectDescriptor, nil },
		referrers: func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			return lists[subject.Digest], nil
		},
		fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, nil }, // the verifiers are fakes, too
	}
}

// everywhere is a policy for all repositories.
func everywhere(verifiers ...string) []ratify.Policy {
	return []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: verifiers}}
}

// ask verifies a reference and checks what must hold of every answer.
func ask(t testing.TB, e *ratify.Engine, key string) (*ratify.Report, error) {
	t.Helper()
	s, err := e.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Verify(t.Context(), s)
	checkReport(t, r, err)
	return r, err
}
