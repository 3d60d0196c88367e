package sigstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// Trust is whom a verifier believes. It is embedded in the Config of each verifier that needs it.
type Trust struct {
	// Keys are public keys, of which one must have signed. At most 100.
	Keys []Key `json:"keys,omitempty"`
	// Identities are who may have signed with a certificate that a Fulcio of the trusted root issued. At most 100.
	Identities []Identity `json:"identities,omitempty"`
	// TrustedRoot is the path of a trusted_root.json file: certificate authorities, transparency logs, certificate
	// transparency logs and timestamp authorities of one or several Sigstore instances. It is read from there and from
	// nowhere else. Identities need it, and so do thresholds.
	TrustedRoot string `json:"trustedRoot,omitempty"`
	// Thresholds say how many authorities must have seen the signature.
	Thresholds Thresholds `json:"thresholds,omitzero"`
	// CosignTags also looks under the tags sha256-<hex>.sig and sha256-<hex>.att, where cosign kept its evidence before
	// registries knew referrers.
	CosignTags bool `json:"cosignTags,omitempty"`
}

// Thresholds count authorities: distinct logs and distinct timestamp authorities of the trusted root, not what they said.
// What is set holds for signatures by keys, too; what is not set asks nothing of them.
type Thresholds struct {
	// TransparencyLogs is how many transparency logs (Rekor) must hold the signature. Unset: 1 of identities, 0 of keys.
	TransparencyLogs *int `json:"transparencyLogs,omitempty"`
	// CertificateLogs is how many certificate transparency logs must hold the signer's certificate; keys have none.
	// Unset: 1.
	CertificateLogs *int `json:"certificateLogs,omitempty"`
	// Timestamps is how many timestamp authorities must have stamped the signature. Unset: 0. Where it is 0, a signature
	// by an identity still needs one proven time, of a transparency log or of a timestamp authority.
	Timestamps *int `json:"timestamps,omitempty"`
}

// maxTrusted bounds the keys, and the identities, that one verifier is configured with: each signature may be checked
// with each key, and a check takes up to a millisecond.
const maxTrusted = 100

// IsZero tells that nothing is configured.
func (t Trust) IsZero() bool {
	return len(t.Keys) == 0 && len(t.Identities) == 0 && t.TrustedRoot == "" && t.Thresholds == Thresholds{} && !t.CosignTags
}

// A Verifier tells who signed. It is immutable and safe for concurrent use.
type Verifier struct {
	keys       []*publicKey
	identities []*identity
	tags       bool
	// material is what the trusted root holds; nil without one.
	material root.TrustedMaterial
	// keyless verifies signatures by identities; nil without identities.
	keyless *verify.Verifier
	// policies are the identities, as the library takes them.
	policies []verify.PolicyOption
	asked    Thresholds // those that are set
	need     needs      // of identities
	trust    string     // the fingerprint of all of that
	shared   *Shared
}

// Tags tells whether cosign's tags are looked at.
func (v *Verifier) Tags() bool { return v.tags }

// needs are thresholds with their defaults.
type needs struct{ transparencyLogs, certificateLogs, timestamps int }

// New builds a Verifier. All that is wrong with the trust is in the error, one line each, with its place. It reads the
// files that are named, through set, and nothing else; nil reads them all the same. shared is the process's; nil is one of
// its own.
func New(t Trust, set *files.Set, shared *Shared) (*Verifier, error) {
	if set == nil {
		set = &files.Set{}
	}
	if shared == nil {
		shared = NewShared()
	}
	v := &Verifier{tags: t.CosignTags, asked: t.Thresholds, shared: shared}
	var problems []error
	add := func(errs ...error) { problems = append(problems, errs...) }
	add(t.check()...)
	add(v.loadKeys(t.Keys, set)...)
	add(v.loadIdentities(t.Identities)...)
	trustedRoot, err := t.readRoot(set)
	add(err)
	if err == nil {
		add(v.loadRoot(t, trustedRoot)...)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	v.trust = t.fingerprint(v.keys, trustedRoot)
	return v, nil
}

// check tells what is missing, and what has no effect.
func (t Trust) check() (problems []error) {
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(t.Keys) == 0 && len(t.Identities) == 0 {
		fail("keys, identities: there are none, so nobody is trusted")
	}
	if len(t.Keys) > maxTrusted {
		fail("keys: there are %d, at most %d", len(t.Keys), maxTrusted)
	}
	if len(t.Identities) > maxTrusted {
		fail("identities: there are %d, at most %d", len(t.Identities), maxTrusted)
	}
	asked, th := 0, t.Thresholds
	for _, threshold := range []struct {
		name  string
		value *int
	}{{"transparencyLogs", th.TransparencyLogs}, {"certificateLogs", th.CertificateLogs}, {"timestamps", th.Timestamps}} {
		if threshold.value == nil {
			continue
		}
		if *threshold.value < 0 {
			fail("thresholds: %s: %d is less than none", threshold.name, *threshold.value)
		}
		asked += max(*threshold.value, 0)
	}
	switch {
	case len(t.Identities) > 0 && t.TrustedRoot == "":
		fail("trustedRoot: identities need one, the path of a trusted_root.json file")
	case len(t.Identities) > 0:
	case th.CertificateLogs != nil:
		fail("thresholds: certificateLogs has no effect without identities, keys have no certificate")
	case asked > 0 && t.TrustedRoot == "":
		fail("trustedRoot: thresholds need one, the path of a trusted_root.json file")
	case asked == 0 && t.TrustedRoot != "":
		fail("trustedRoot: has no effect without identities or thresholds")
	case asked == 0 && th != Thresholds{}:
		fail("thresholds: ask for nothing, and have no effect without identities")
	}
	return problems
}

// readRoot reads the trusted root's file, where there is one.
func (t Trust) readRoot(set *files.Set) ([]byte, error) {
	if t.TrustedRoot == "" {
		return nil, nil
	}
	data, err := set.Read(t.TrustedRoot)
	if err != nil {
		return nil, fmt.Errorf("trustedRoot: %w", err)
	}
	return data, nil
}

// loadRoot parses the trusted root and compares it with what is asked of it.
func (v *Verifier) loadRoot(t Trust, data []byte) (problems []error) {
	if t.TrustedRoot == "" {
		return nil
	}
	trusted, err := parseRoot(data)
	if err != nil {
		return []error{fmt.Errorf("trustedRoot: %s: %w", t.TrustedRoot, err)}
	}
	v.material = trusted
	v.need = needs{transparencyLogs: 1, certificateLogs: 1}
	authorities := map[string]bool{}
	for _, authority := range trusted.TimestampingAuthorities() {
		if tsa, ok := authority.(*root.SigstoreTimestampingAuthority); ok {
			authorities[tsa.URI] = true // the library tells authorities apart by it
		}
	}
	for _, threshold := range []struct {
		name, kind string
		value      *int
		need       *int
		available  int
	}{
		{"transparencyLogs", "transparency logs", t.Thresholds.TransparencyLogs, &v.need.transparencyLogs, len(trusted.RekorLogs())},
		{"certificateLogs", "certificate transparency logs", t.Thresholds.CertificateLogs, &v.need.certificateLogs, len(trusted.CTLogs())},
		{"timestamps", "timestamp authorities", t.Thresholds.Timestamps, &v.need.timestamps, len(authorities)},
	} {
		if threshold.value != nil {
			*threshold.need = *threshold.value
		}
		if (threshold.value != nil || len(t.Identities) > 0) && *threshold.need > threshold.available {
			problems = append(problems, fmt.Errorf("thresholds: %s: %d cannot be met, the trusted root has %d %s",
				threshold.name, *threshold.need, threshold.available, threshold.kind))
		}
	}
	if len(t.Identities) == 0 || len(problems) > 0 {
		return problems
	}
	if len(trusted.FulcioCertificateAuthorities()) == 0 {
		return []error{fmt.Errorf("trustedRoot: %s: it has no certificate authority, and identities need one", t.TrustedRoot)}
	}
	if v.need.transparencyLogs == 0 && len(authorities) == 0 {
		return []error{errors.New("thresholds: transparencyLogs: 0 cannot be, the trusted root has no timestamp authority, and a certificate of minutes needs a proven time")}
	}
	v.keyless, err = verify.NewVerifier(trusted, v.options()...)
	if err != nil {
		return []error{fmt.Errorf("thresholds: %w", err)}
	}
	return nil
}

// parseRoot reads a trusted root. The library's parser is made for files that TUF has proven; a damaged one must not take
// the process down.
func parseRoot(data []byte) (trusted *root.TrustedRoot, err error) {
	defer contain(&err)
	trusted, err = root.NewTrustedRootFromJSON(data)
	return trusted, err
}

// options are the thresholds for identities as the library takes them.
func (v *Verifier) options() []verify.VerifierOption {
	// The predicate may be of megabytes, and is read by whoever asked for the statement.
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if v.need.transparencyLogs > 0 {
		options = append(options, verify.WithTransparencyLog(v.need.transparencyLogs))
	}
	if v.need.certificateLogs > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(v.need.certificateLogs))
	}
	if v.need.timestamps > 0 {
		return append(options, verify.WithSignedTimestamps(v.need.timestamps))
	}
	return append(options, verify.WithObserverTimestamps(1))
}

// A Signer is who signed a piece of evidence, and what is proven about it.
type Signer struct {
	// Key is the name of the key, where it was one.
	Key string
	// Identity and Issuer are the certificate's subject alternative name and the OpenID Connect issuer that vouched for
	// it, where it was not a key.
	Identity, Issuer string
	// Time is the earliest instant at which an authority of the trusted root has seen the signature; zero if none was asked
	// for. Who holds the signature can have it stamped later, so that it says until when it was made, not since when.
	Time time.Time
	// Claims are what the certificate says of the build that signed, by stable names: sourceRepository,
	// sourceRepositoryDigest, sourceRepositoryRef, buildSigner, buildConfig, buildTrigger, runInvocation.
	Claims map[string]string
}

// Extensions are the facts for a report and for a policy's rule.
func (s Signer) Extensions() map[string]any {
	facts := map[string]any{}
	set := func(name, value string) {
		if value != "" {
			facts[name] = ratify.Truncate(value)
		}
	}
	set("key", s.Key)
	set("identity", s.Identity)
	set("issuer", s.Issuer)
	if !s.Time.IsZero() {
		set("signedBefore", s.Time.UTC().Format(time.RFC3339))
	}
	for name, value := range s.Claims {
		set(name, value)
	}
	return facts
}

// String says who, for a message.
func (s Signer) String() string {
	if s.Key != "" {
		return "key " + ratify.Quote(s.Key)
	}
	return fmt.Sprintf("identity %s (issuer %s)", ratify.Quote(s.Identity), ratify.Quote(s.Issuer))
}
