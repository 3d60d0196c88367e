package notation

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify/internal/cache"
	"github.com/ratify-provider/ratify/internal/listhash"
)

const (
	// maxChains bounds the chains that are remembered: a signer for each of a thousand teams or pipelines. Of a chain only
	// the key is kept, in the 200 bytes that the cache takes for itself; maxChainBytes is room for all of them.
	maxChains     = 1_000
	maxChainBytes = 1 << 20
	// maxStampChains bounds the chains of timestamp authorities, which are kept whole, for their revocation is asked for
	// again: a few authorities, with a new certificate each year. maxStampBytes is room for three certificates in each.
	maxStampChains = 100
	maxStampBytes  = 2 << 20
	// certBytes is what a parsed certificate takes beside its encoding, with all that its fields point to: 3.4 KB measured.
	certBytes = 4 << 10
	// passBytes is what a signature takes beside the cache's own overhead: three instants, and a key of 32 bytes.
	passBytes = 3*24 + 16 + 32
	// maxOutcomeLife is how long anything is remembered: once in a month everything is proven anew.
	maxOutcomeLife = 30 * 24 * time.Hour

	// 50,000 signatures take 15 MB.
	defaultOutcomeBytes   = 16 << 20
	defaultOutcomeEntries = 50_000
)

// OutcomesOptions bound what is remembered. Zero values are the defaults.
type OutcomesOptions struct {
	// MaxBytes and MaxEntries bound the signatures: 16 MiB, 50,000.
	MaxBytes   int64
	MaxEntries int
}

// Outcomes remembers what passed, across configurations, so that the same cryptography is not done twice: which chains of
// certificates, and which signatures for which images. Both are kept under a fingerprint of all settings that they passed
// under, so that a statement, or a certificate in its trust stores, that changes finds nothing. What is remembered are
// facts that no clock and no third party can change: the clock is read and revocation asked for again each time. Only
// what passed without a complaint is kept. It is meant to be shared by the whole process, and is safe for concurrent use.
type Outcomes struct {
	chains *cache.Cache[struct{}]
	passes *cache.Cache[pass]
	// stampChains are the chains that passes name.
	stampChains *cache.Cache[[]*x509.Certificate]
}

// NewOutcomes makes an Outcomes.
func NewOutcomes(options OutcomesOptions) *Outcomes {
	setDefault(&options.MaxBytes, defaultOutcomeBytes)
	setDefault(&options.MaxEntries, defaultOutcomeEntries)
	return &Outcomes{
		chains: cache.New(maxChains, maxChainBytes, func(struct{}) int64 { return 0 }),
		passes: cache.New(options.MaxEntries, options.MaxBytes, func(pass) int64 { return passBytes }),
		stampChains: cache.New(maxStampChains, maxStampBytes, func(chain []*x509.Certificate) (size int64) {
			for _, cert := range chain {
				size += certBytes + int64(len(cert.Raw))
			}
			return size
		}),
	}
}

// A pass says that a signature over an image was verified. It holds between two instants only: a clock that was set back
// behind the verification makes it worthless, and so does the end of the signature or of any of its certificates, although
// a timestamp may outlive those.
type pass struct {
	from, until time.Time
	// stamped is the time of a timestamp that was verified with the chain that stampChain is the key of; empty: none was.
	stamped    time.Time
	stampChain string
}

// A stamp is a timestamp that was verified, and the chain that it was verified with.
type stamp struct {
	at    time.Time
	chain []*x509.Certificate
}

// stampOf returns the timestamp of a pass; nil if it has none, or its chain had to go.
func (o *Outcomes) stampOf(p pass) *stamp {
	chain, ok := o.stampChains.Get(p.stampChain)
	if !ok {
		return nil
	}
	return &stamp{p.stamped, chain}
}

// knowStampChain tells whether a chain is well formed, for what is kept was found to be.
func (o *Outcomes) knowStampChain(chain []*x509.Certificate) bool {
	if o == nil {
		return false
	}
	_, ok := o.stampChains.Get(stampChainKey(chain))
	return ok
}

// stampChainKey is the same under all settings: it says of a chain nothing that depends on them.
func stampChainKey(chain []*x509.Certificate) string { return chainKey(settingsPrint{}, "", chain) }

// keepStamp makes a timestamp part of a pass that is to be kept.
func (o *Outcomes) keepStamp(p *pass, s *stamp) {
	key := stampChainKey(s.chain)
	if _, ok := o.stampChains.Get(key); !ok {
		chain, err := apart(s.chain)
		if err != nil {
			return
		}
		o.stampChains.Set(key, chain, maxOutcomeLife)
	}
	p.stamped, p.stampChain = s.at, key
}

// apart copies certificates away from what they were parsed from, which they would hold: all of a timestamp's token, with
// what anybody may have put into it beside them.
func apart(chain []*x509.Certificate) ([]*x509.Certificate, error) {
	copies := make([]*x509.Certificate, len(chain))
	for i, cert := range chain {
		var err error
		if copies[i], err = x509.ParseCertificate(bytes.Clone(cert.Raw)); err != nil {
			return nil, err
		}
	}
	return copies, nil
}

// passed returns the pass of the key, if it holds now.
func (o *Outcomes) passed(key string, now time.Time) (pass, bool) {
	p, ok := o.passes.Get(key)
	now = now.Round(0) // by the wall's clock, as certificates go by it
	return p, ok && !now.Before(p.from) && now.Before(p.until)
}

// A settingsPrint is a fingerprint of all that decides about a signature, beside the signature, clocks and revocation.
type settingsPrint [sha256.Size]byte

// printOf takes the fingerprint of a statement with its certificates. Its scopes are not in it: they have chosen it.
func printOf(policy trustpolicy.TrustPolicy, stores anchors, cfg Config) (settingsPrint, error) {
	policy.RegistryScopes = nil
	certs := make([][][]byte, len(policy.TrustStores))
	for i, name := range policy.TrustStores {
		for _, cert := range stores[name] {
			certs[i] = append(certs[i], cert.Raw)
		}
	}
	data, err := json.Marshal(struct {
		Policy                    trustpolicy.TrustPolicy
		Certs                     [][][]byte
		RequireInfo, AllowPrivate bool
	}{policy, certs, cfg.RequireRevocationInfo, cfg.AllowPrivateRevocation})
	if err != nil {
		return settingsPrint{}, fmt.Errorf("encode settings: %w", err)
	}
	return sha256.Sum256(data), nil
}

// chainKey names the fact that a chain is well formed, anchored and of a trusted identity under these settings.
func chainKey(s settingsPrint, scheme signature.SigningScheme, chain []*x509.Certificate) string {
	h := sha256.New()
	h.Write(s[:])
	listhash.Write(h, "chain", string(scheme))
	for _, cert := range chain {
		listhash.Write(h, cert.Raw)
	}
	return string(h.Sum(nil))
}

// passKey names the fact that an envelope is a signature for the subject under these settings.
func passKey(s settingsPrint, subject ocispec.Descriptor, data []byte, mediaType string) string {
	h := sha256.New()
	h.Write(s[:])
	listhash.Write(h, "pass", subject.MediaType, string(subject.Digest), mediaType)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(subject.Size))) //nolint:gosec // one to one, whatever the sign
	listhash.Write(h, data)
	return string(h.Sum(nil))
}
