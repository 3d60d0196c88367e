package sigstore_test

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// A process is what outlives configurations, and counts what is verified.
type process struct {
	shared *sigstore.Shared
	count  atomic.Int64
}

func newProcess() *process {
	p := &process{}
	p.shared = sigstore.NewShared().Counting(func() { p.count.Add(1) })
	return p
}

// verifier is one of a new configuration.
func (p *process) verifier(t testing.TB, trust sigstore.Trust) *sigstore.Verifier {
	t.Helper()
	return must[*sigstore.Verifier](t)(sigstore.New(trust, nil, p.shared))
}

// verified tells how many signatures look verifies.
func (p *process) verified(look func()) int64 {
	before := p.count.Load()
	look()
	return p.count.Load() - before
}

// A kept piece of evidence: what is signed, by whom, and where it is.
type kept struct {
	trust     sigstore.Trust
	artifact  *cosigntest.Artifact
	statement bool
}

// keptEvidence is one of each kind, in each form, by a key and by an identity.
func keptEvidence(t testing.TB) map[string]kept {
	key, instance := newKey(t, cosigntest.P256), newSigstore(t, "ours")
	options := cosigntest.Options{Identity: workflow, Issuer: issuer, SourceRepository: "https://ci.example/acme/app"}
	payload := cosigntest.Payload("registry.example/app", image.Digest)
	attestation := cosigntest.Statement(image.Digest, provenance, map[string]any{"a": 1})
	all := map[string]kept{}
	for name, signer := range map[string]struct {
		trust   sigstore.Trust
		message func([]byte) (*cosigntest.Signed, error)
		sign    func([]byte) (*cosigntest.Signed, error)
	}{
		"key": {byKey(t, key), key.SignMessage, key.Sign},
		"identity": {byIdentity(t, instance), func(m []byte) (*cosigntest.Signed, error) { return instance.SignMessage(m, options) },
			func(m []byte) (*cosigntest.Signed, error) { return instance.Sign(m, options) }},
	} {
		signed := must[*cosigntest.Signed](t)
		all[name+", tag"] = kept{signer.trust, cosigntest.Collect(image.Digest, signed(signer.message(payload)).Layer()), false}
		all[name+", bundle of the manifest"] = kept{signer.trust, bundled(signed(signer.message(manifest))), false}
		all[name+", bundle"] = kept{signer.trust, bundled(signed(signer.sign(cosigntest.SignStatement(image.Digest)))), false}
		for form, store := range forms {
			all[name+", attestation, "+form] = kept{signer.trust, store(signed(signer.sign(attestation))), true}
		}
	}
	return all
}

// look verifies it, and returns the signer and what is stated.
func (k kept) look(t testing.TB, v *sigstore.Verifier, subject, evidence ocispec.Descriptor, repo ratify.Repository) (signer sigstore.Signer, predicate []byte, err error) {
	t.Helper()
	if !k.statement {
		signer, err = v.Signature(t.Context(), subject, evidence, repo)
		return signer, nil, err
	}
	statement, signer, err := v.Statement(t.Context(), subject, evidence, repo)
	if err == nil {
		predicate = statement.Predicate
	}
	return signer, predicate, err
}

// TestVerifiedOnce: what was verified is not verified again while the same are trusted, in whichever configuration; the
// answer is the same, and what is stated comes from the evidence.
func TestVerifiedOnce(t *testing.T) {
	for name, k := range keptEvidence(t) {
		t.Run(name, func(t *testing.T) {
			p := newProcess()
			repo := newRepository(k.artifact)
			v := p.verifier(t, k.trust)
			evidence := onlyEvidence(t, v, repo, k.artifact)
			var first sigstore.Signer
			if n := p.verified(func() {
				var err error
				if first, _, err = k.look(t, v, image, evidence, repo); err != nil {
					t.Fatal(err)
				}
			}); n != 1 {
				t.Errorf("verified %d times at first", n)
			}
			for range 2 {
				if n := p.verified(func() {
					again, predicate, err := k.look(t, p.verifier(t, k.trust), image, evidence, repo)
					if err != nil || !reflect.DeepEqual(again, first) {
						t.Errorf("%+v: %v, want %+v", again, err, first)
					}
					if k.statement && string(predicate) != `{"a":1}` {
						t.Errorf("it states %s", predicate)
					}
				}); n != 0 {
					t.Errorf("verified %d times again", n)
				}
			}
			other := newProcess()
			if n := other.verified(func() { _, _, _ = k.look(t, other.verifier(t, k.trust), image, evidence, repo) }); n != 1 {
				t.Errorf("another process verified it %d times", n)
			}
		})
	}
}

// TestVerifiedForNothingElse: whatever is changed of the evidence or of the subject, after it was verified, is verified, and
// refused as if nothing had been.
func TestVerifiedForNothingElse(t *testing.T) {
	flip := func(data []byte) []byte {
		changed := bytes.Clone(data)
		changed[len(changed)/2] ^= 1
		return changed
	}
	for name, k := range keptEvidence(t) {
		t.Run(name, func(t *testing.T) {
			p := newProcess()
			repo := newRepository(k.artifact)
			v := p.verifier(t, k.trust)
			evidence := onlyEvidence(t, v, repo, k.artifact)
			if _, _, err := k.look(t, v, image, evidence, repo); err != nil {
				t.Fatal(err)
			}
			refusedAs := func(name string, subject, evidence ocispec.Descriptor, repo ratify.Repository) {
				t.Helper()
				_, _, fresh := k.look(t, newVerifier(t, k.trust), subject, evidence, repo)
				if _, _, err := k.look(t, v, subject, evidence, repo); err == nil || fresh == nil || err.Error() != fresh.Error() {
					t.Errorf("%s: %v, and where nothing is known %v", name, err, fresh)
				}
			}
			for blob := range k.artifact.Blobs {
				// Not even a repository that does not keep its promise has other bytes taken for those that were verified.
				lying := *repo
				lying.Blobs = maps.Clone(repo.Blobs)
				lying.Blobs[blob] = flip(repo.Blobs[blob])
				if isConfig := blob == ocispec.DescriptorEmptyJSON.Digest || k.artifact.Tag != "" && blob != evidence.Digest; !isConfig {
					refusedAs("other bytes", image, evidence, &lying)
				}
			}
			for name := range evidence.Annotations {
				changed := evidence
				changed.Annotations = maps.Clone(evidence.Annotations)
				changed.Annotations[name] = string(flip([]byte(evidence.Annotations[name])))
				refusedAs(name, image, changed, repo)
			}
			another := image
			another.Digest = digestOf("another image")
			refusedAs("another image", another, evidence, repo)
			if k.statement {
				if _, err := v.Signature(t.Context(), image, evidence, repo); err == nil {
					t.Error("an attestation is a signature")
				}
			} else if _, _, err := v.Statement(t.Context(), image, evidence, repo); err == nil {
				t.Error("a signature is an attestation")
			}
		})
	}
}

// TestVerifiedUnderTheseSettings: each setting that decides whom to believe, changed alone, has everything verified again.
func TestVerifiedUnderTheseSettings(t *testing.T) {
	key, other := newKey(t, cosigntest.P256), newKey(t, cosigntest.P256)
	ours, theirs := newSigstore(t, "ours"), newSigstore(t, "theirs")
	both := func() sigstore.Trust {
		trust := byIdentity(t, ours)
		trust.Keys = byKey(t, key).Keys
		return trust
	}
	number := func(n int) *int { return &n }
	options := cosigntest.Options{Identity: workflow, Issuer: issuer, Stamp: true}
	byTheKey := bundled(must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest))))
	byTheWorkflow := bundled(must[*cosigntest.Signed](t)(ours.Sign(cosigntest.SignStatement(image.Digest), options)))
	for _, tc := range []struct {
		name     string
		change   func(trust *sigstore.Trust)
		artifact *cosigntest.Artifact
		want     ratify.Code
		signer   string
	}{
		{"the key's name", func(s *sigstore.Trust) { s.Keys[0].Name = "renamed" }, byTheKey, ratify.Verified, `key "renamed"`},
		{"another key", func(s *sigstore.Trust) { s.Keys = byKey(t, other).Keys }, byTheKey, ratify.UntrustedSigner, ""},
		{"a key more", func(s *sigstore.Trust) {
			s.Keys = append(slices.Clone(s.Keys), sigstore.Key{Name: "more", File: writeFile(t, other.PublicPEM())})
		}, byTheKey, ratify.Verified, `key "ci"`},
		{"no key", func(s *sigstore.Trust) { s.Keys = nil }, byTheKey, ratify.UntrustedSigner, ""},
		{"logs for keys, too", func(s *sigstore.Trust) { s.Thresholds.TransparencyLogs = number(1) }, byTheKey, ratify.TransparencyInvalid, ""},
		{"another issuer", func(s *sigstore.Trust) { s.Identities[0].Issuer += "x" }, byTheWorkflow, ratify.IdentityMismatch, ""},
		{"another subject", func(s *sigstore.Trust) { s.Identities[0].Subject += "x" }, byTheWorkflow, ratify.IdentityMismatch, ""},
		{"a pattern for the issuer", func(s *sigstore.Trust) {
			s.Identities[0].Issuer, s.Identities[0].IssuerPattern = "", `^https://token\.evil\.example$`
		}, byTheWorkflow, ratify.IdentityMismatch, ""},
		{"a pattern for the subject", func(s *sigstore.Trust) {
			s.Identities[0].Subject, s.Identities[0].SubjectPattern = "", `^https://evil\.example/.+$`
		}, byTheWorkflow, ratify.IdentityMismatch, ""},
		{"another root", func(s *sigstore.Trust) { s.TrustedRoot = byIdentity(t, theirs).TrustedRoot }, byTheWorkflow, ratify.UntrustedSigner, ""},
		{"a root more", func(s *sigstore.Trust) { s.TrustedRoot = byIdentity(t, ours, theirs).TrustedRoot }, byTheWorkflow, ratify.Verified, workflow},
		{"two logs", func(s *sigstore.Trust) {
			s.TrustedRoot, s.Thresholds.TransparencyLogs = byIdentity(t, ours, theirs).TrustedRoot, number(2)
		}, byTheWorkflow, ratify.TransparencyInvalid, ""},
		{"two certificate logs", func(s *sigstore.Trust) {
			s.TrustedRoot, s.Thresholds.CertificateLogs = byIdentity(t, ours, theirs).TrustedRoot, number(2)
		}, byTheWorkflow, ratify.TransparencyInvalid, ""},
		{"no log, a timestamp", func(s *sigstore.Trust) {
			s.Thresholds.TransparencyLogs, s.Thresholds.Timestamps = number(0), number(1)
		}, byTheWorkflow, ratify.Verified, workflow},
		{"two timestamps", func(s *sigstore.Trust) {
			s.TrustedRoot, s.Thresholds.Timestamps = byIdentity(t, ours, theirs).TrustedRoot, number(2)
		}, byTheWorkflow, ratify.TimestampInvalid, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newProcess()
			repo := newRepository(tc.artifact)
			if _, err := p.verifier(t, both()).Signature(t.Context(), image, tc.artifact.Descriptor, repo); err != nil {
				t.Fatal(err)
			}
			trust := both()
			tc.change(&trust)
			if n := p.verified(func() {
				signer, err := p.verifier(t, trust).Signature(t.Context(), image, tc.artifact.Descriptor, repo)
				expect(t, err, tc.want)
				if err == nil && !bytes.Contains([]byte(signer.String()), []byte(tc.signer)) {
					t.Errorf("signed by %s, want %s", signer, tc.signer)
				}
			}); n != 1 {
				t.Errorf("verified %d times", n)
			}
			back := both()
			back.CosignTags = false // which decides where to look, and not whom to believe
			back.Keys[0].File = writeFile(t, key.PublicPEM())
			if n := p.verified(func() {
				_, err := p.verifier(t, back).Signature(t.Context(), image, tc.artifact.Descriptor, repo)
				expect(t, err, ratify.Verified)
			}); n != 0 {
				t.Errorf("with the first settings again, verified %d times", n)
			}
		})
	}
}

// TestRefusalsAreNotRemembered: what somebody attaches who is not trusted takes no memory, and has its reason each time.
func TestRefusalsAreNotRemembered(t *testing.T) {
	p := newProcess()
	v := p.verifier(t, byKey(t, newKey(t, cosigntest.P256)))
	foreign := bundled(must[*cosigntest.Signed](t)(newKey(t, cosigntest.P256).Sign(cosigntest.SignStatement(image.Digest))))
	for range 3 {
		if n := p.verified(func() {
			_, err := v.Signature(t.Context(), image, foreign.Descriptor, newRepository(foreign))
			refused(t, err, ratify.UntrustedSigner)
		}); n != 1 {
			t.Errorf("verified %d times", n)
		}
	}
}

// TestVerifiedByManyAtOnce: the verifiers of a policy that believe the same have it verified once between them.
func TestVerifiedByManyAtOnce(t *testing.T) {
	for name, k := range keptEvidence(t) {
		t.Run(name, func(t *testing.T) {
			p, repo := newProcess(), newRepository(k.artifact)
			evidence := onlyEvidence(t, p.verifier(t, k.trust), repo, k.artifact)
			var all sync.WaitGroup
			for range 8 {
				v := p.verifier(t, k.trust)
				all.Go(func() {
					if _, _, err := k.look(t, v, image, evidence, repo); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := p.count.Load(); n != 1 {
				t.Errorf("verified %d times", n)
			}
		})
	}
}

// TestARegistryHoldsUpNobodyElse: where the same evidence of the same image is verified as it is in another registry, which
// does not answer, nobody waits for that one.
func TestARegistryHoldsUpNobodyElse(t *testing.T) {
	for name, k := range keptEvidence(t) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess()
				stuck, repo := newRepository(k.artifact), newRepository(k.artifact)
				evidence := onlyEvidence(t, p.verifier(t, k.trust), repo, k.artifact)
				stuck.Before = func(what string) error {
					if what == image.Digest.String() {
						time.Sleep(time.Minute)
					}
					return nil
				}
				var first sync.WaitGroup
				defer first.Wait()
				v := p.verifier(t, k.trust)
				first.Go(func() { _, _, _ = k.look(t, v, image, evidence, stuck) })
				synctest.Wait()
				began := time.Now()
				if _, _, err := k.look(t, p.verifier(t, k.trust), image, evidence, repo); err != nil {
					t.Error(err)
				}
				if waited := time.Since(began); waited > 0 {
					t.Errorf("waited %s", waited)
				}
			})
		})
	}
}
