package sigstore

import (
	"context"
	"crypto/sha256"
	"strconv"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify/internal/listhash"
)

// What was verified is remembered for the whole process, so that a new configuration, or a verdict that has ended, does not
// have the same signature verified again. Only a pass is: of a refusal the user wants to know the reason, and whoever may
// attach evidence could fill the memory with refusals. With copies of a good signature, each in other bytes, he still can: then
// what nobody asks for again goes, and is verified anew.
//
// No clock that goes on has a part in an outcome. A key has no end; the certificates of signers and of timestamp
// authorities, and the keys of logs, are judged at the instants that the evidence proves, which are past. So the same bytes
// about the same subject have the same outcome until somebody else is trusted, and who is trusted is in the key.
const (
	// outcomeLife bounds how long an outcome is of use to anybody: verdicts without an end are looked at again each day.
	outcomeLife = 24 * time.Hour
	// maxOutcomes is the signatures of the images that a large cluster runs, with some documents each.
	maxOutcomes = 16 << 10
	// maxOutcomeBytes holds as many of keys, which take some 300 bytes each, or of identities with few claims, and nearly the
	// half of identities with all of theirs.
	maxOutcomeBytes = 8 << 20
)

// once verifies what was not verified before, and remembers it. Several verifiers that want the same at the same time, as
// those of a policy do that believe the same, have it verified by one; so verify reads from no registry, or whoever owns
// that one would hold up the others. manifest is what verify is given of the subject: it may fail without, and nobody who
// has it waits for that.
func (s *Shared) once(ctx context.Context, outcome string, manifest []byte, verify func() (Signer, error)) (Signer, error) {
	if signer, known := s.outcomes.Get(outcome); known {
		return signer, nil
	}
	flight := outcome
	if manifest != nil {
		flight += " with the manifest"
	}
	return s.verifications.do(ctx, flight, func() (Signer, error) {
		if signer, known := s.outcomes.Get(outcome); known { // since a moment ago
			return signer, nil
		}
		signer, err := verify()
		if err == nil {
			s.outcomes.Set(outcome, signer, outcomeLife)
		}
		return signer, err
	})
}

// size is how many bytes a signer holds.
func (s Signer) size() int64 {
	const fixed, entry = 104, 40 // of the struct; of a claim in its map
	n := fixed + len(s.Key) + len(s.Identity) + len(s.Issuer)
	for name, value := range s.Claims {
		n += entry + len(name) + len(value)
	}
	return int64(n)
}

// outcome is the key under which it is remembered that evidence of a kind, a signature or a statement, was verified. It
// holds all that verifying it looks at; of the subject's manifest the digest stands for the bytes.
func (v *Verifier) outcome(kind string, b blob, data []byte, subject ocispec.Descriptor) string {
	h := sha256.New()
	listhash.Write(h, v.trust, kind, subject.MediaType, subject.Digest.String(), strconv.FormatInt(subject.Size, 10), b.MediaType)
	for _, name := range layerAnnotations {
		listhash.Write(h, b.Annotations[name])
	}
	h.Write(data) // which is last, and so needs no length
	return string(h.Sum(nil))
}

// fingerprint is of all that decides whom the verifier believes, as it was read, and of the names that it gives them. root
// is the text of the trusted root.
func (t Trust) fingerprint(keys []*publicKey, root []byte) string {
	h := sha256.New()
	listhash.Write(h, strconv.Itoa(len(keys)))
	for _, key := range keys {
		listhash.Write(h, key.name, key.hint) // which is the key's SHA-256
	}
	listhash.Write(h, strconv.Itoa(len(t.Identities)))
	for _, id := range t.Identities {
		listhash.Write(h, id.Issuer, id.IssuerPattern, id.Subject, id.SubjectPattern)
	}
	for _, threshold := range []*int{t.Thresholds.TransparencyLogs, t.Thresholds.CertificateLogs, t.Thresholds.Timestamps} {
		text := "unset"
		if threshold != nil {
			text = strconv.Itoa(*threshold)
		}
		listhash.Write(h, text)
	}
	h.Write(root)
	return string(h.Sum(nil))
}
