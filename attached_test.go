package ratify_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"weak"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// listing makes a world whose registry lists these artifacts, and that has one verifier, of the kind "a", for which only the
// piece good passes.
func listing(good ocispec.Descriptor, list ...ocispec.Descriptor) *world {
	w := newWorld(nil, &fakeVerifier{kind: "a", verify: func(_ context.Context, _, evidence ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		return ratify.Result{Passed: evidence.Digest == good.Digest, Unproven: evidence.Digest != good.Digest}, nil
	}})
	w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return list, nil }
	return w
}

// TestOfLongListsAllIsCounted: what lies past the bound is told, with how much there was.
func TestOfLongListsAllIsCounted(t *testing.T) {
	list := pieces("a", 100)
	report, err := listing(list[99], append(list, pieces("b", 50)...)...).verify(t)
	want := fmt.Sprintf("100 pieces of evidence are attached, of which %d were examined", ratify.MaxEvidence)
	if err != nil || report.Code != ratify.LimitExceeded || !strings.Contains(report.Message, want) {
		t.Errorf("error %v, code %s, message %q, want %q", err, report.Code, report.Message, want)
	}
}

// TestTheSameManyTimesIsOnePiece: nobody can push a signature past the bound by listing another one again and again.
func TestTheSameManyTimesIsOnePiece(t *testing.T) {
	bad, good := piece("a", 1), piece("a", 2)
	list := []ocispec.Descriptor{}
	for range 100 {
		list = append(list, bad)
	}
	if report, err := listing(good, append(list, good)...).verify(t); err != nil || !report.IsSuccess {
		t.Errorf("error %v, %+v", err, report)
	}
}

// TestKindsOfALongList: what is attached instead is told, though nothing of it is kept.
func TestKindsOfALongList(t *testing.T) {
	list := append(pieces("b", 200), pieces("c", 200)...)
	report, err := listing(piece("a", 1), list...).verify(t)
	if err != nil || report.Code != ratify.NoSignature || !strings.HasSuffix(report.Message, `only "b", "c"`) {
		t.Errorf("error %v, code %s, message %q", err, report.Code, report.Message)
	}
}

// TestAListIsNotHeld: while evidence is verified the list that it was on can be collected.
func TestAListIsNotHeld(t *testing.T) {
	var list weak.Pointer[ocispec.Descriptor]
	var examined atomic.Int64
	w := newWorld(nil, &fakeVerifier{kind: "a", verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
		runtime.GC()
		if examined.Add(1); list.Value() != nil {
			t.Error("the list is held while its evidence is verified")
		}
		return ratify.Result{Passed: true}, nil
	}})
	w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		all := pieces("a", ratify.MaxReferrers)
		list = weak.Make(&all[0])
		return all, nil
	}
	if _, err := w.verify(t); err != nil || examined.Load() == 0 {
		t.Errorf("%d were examined, error %v", examined.Load(), err)
	}
}
