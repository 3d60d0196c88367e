// Package config is the shape of the configuration file, and its strict decoding: the same file serves the server,
// the command and the chart. It knows nothing of stores and verifiers: their settings are kept as they were written
// and decoded, once, into the Config of whoever they belong to (Settings.Decode). Begin at Parse.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
	goyaml "go.yaml.in/yaml/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// A File is one configuration.
type File struct {
	// Stores are where subjects and evidence are read; which one serves a subject is chosen by scope.
	Stores []Store `json:"stores"`
	// Verifiers are what policies can ask for.
	Verifiers []Verifier `json:"verifiers"`
	// Policies say which verifiers must pass for which repositories. What no policy names is refused.
	Policies []ratify.Policy `json:"policies"`
	// Exemptions admit images without verification, each for a reason and until it ends.
	Exemptions []ratify.Exemption `json:"exemptions,omitempty"`
	// Mirrors say under which name images are verified that are pulled from elsewhere than where they were signed.
	Mirrors []ratify.Mirror `json:"mirrors,omitempty"`
	// Tenancy gives namespaces policies of their own.
	Tenancy Tenancy `json:"tenancy"`
	// Cache bounds what is kept of the verdicts.
	Cache Cache `json:"cache"`
	// Mutation says how a tag is pinned.
	Mutation Mutation `json:"mutation"`
	// GatekeeperCacheTTL is Gatekeeper's own external-data-provider-response-cache-ttl: a verdict that ends sooner than
	// that is looked at again before it is answered. Default 30s.
	GatekeeperCacheTTL Duration `json:"gatekeeperCacheTTL"`
	// Concurrency is how many images are verified at the same time; what comes beyond waits. Default 288.
	Concurrency int `json:"concurrency"`
}

// defaultConcurrency leaves a registry, which gets three quarters or more, room for 200 images at once: they wait for its
// answers most of the time. What they may have in memory is bounded apart from that.
const defaultConcurrency = 288

// maxConcurrency is above what can be asked at the same time: some 100 requests of Gatekeeper with 64 keys each. What
// is larger is a slip of the finger, and memory is set aside for each.
const maxConcurrency = 10_000

// A Module is what a store and a verifier have in common.
type Module struct {
	// Name is how policies and reports call it.
	Name string `json:"name"`
	// Type chooses the implementation.
	Type string `json:"type"`
	// Settings belong to the implementation.
	Settings Settings `json:"settings"`
}

// A Store is a module that reads subjects and their evidence.
type Store struct {
	Module
	// Scopes are the repositories that the store serves.
	Scopes []string `json:"scopes"`
}

// A Verifier is a module that checks one kind of evidence.
type Verifier struct {
	Module
	// SignedBy is for verifiers of documents alone: the names of verifiers of which one must prove the document itself,
	// as an artifact, before anything in it counts.
	SignedBy []string `json:"signedBy,omitempty"`
	// Evidence is which pieces decide where there are several: any, all or newest. The default is the verifier's: any for
	// signatures and attestations, all for bills of materials, newest for scans.
	Evidence ratify.Pieces `json:"evidence,omitempty"`
}

// Tenancy says whether, and how, namespaces have policies of their own. Requests then name the namespace beside the image:
// the ConstraintTemplate for tenants does.
type Tenancy struct {
	// Enabled turns it on.
	Enabled bool `json:"enabled,omitempty"`
	// WithoutPolicy is what decides about a namespace's image to which no policy with namespaces applies: cluster (the
	// policies without namespaces, the default) or refuse.
	WithoutPolicy WithoutPolicy `json:"withoutPolicy,omitempty"`
	// Directory holds a file for each tenant that has policies of its own, NAMESPACE.yaml, in the shape of Tenant. Files
	// that they name, such as keys, must lie in it, too.
	Directory string `json:"directory,omitempty"`
	// Delegate says for which repositories the files of Directory may have policies. There they replace the cluster's;
	// elsewhere they are refused, so that no tenant can allow what the cluster's policies forbid.
	Delegate []Delegation `json:"delegate,omitempty"`
}

// WithoutPolicy is what becomes of tenants that have no policy.
type WithoutPolicy string

// The choices; the default is the cluster's policies.
const (
	WithoutPolicyCluster WithoutPolicy = "cluster"
	WithoutPolicyRefuse  WithoutPolicy = "refuse"
)

// A Delegation hands repositories to tenants.
type Delegation struct {
	// Namespaces are the tenants: a namespace, prefix* or *.
	Namespaces []string `json:"namespaces"`
	// Scopes are the repositories, as in policies.
	Scopes []string `json:"scopes"`
}

// A Tenant is the file of one tenant: verifiers and policies of its own, whose names are its own, too. A policy may also
// ask the cluster's verifiers.
type Tenant struct {
	Verifiers []Verifier      `json:"verifiers"`
	Policies  []ratify.Policy `json:"policies"`
}

// Cache bounds the result cache. An entry also ends with the certificate, signature or revocation answer it rests on.
type Cache struct {
	// TTL is how long a verified image stays so unasked. Default 10m.
	TTL Duration `json:"ttl"`
	// RefusalTTL is how long a refusal is kept: short, for a signature may be pushed any moment. Default 10s.
	RefusalTTL Duration `json:"refusalTTL"`
	// TagTTL is how long a tag is taken to mean the same digest. Default 5s.
	TagTTL Duration `json:"tagTTL"`
	// MaxEntries bounds the number of verdicts and of tags, each. Default 20000.
	MaxEntries int `json:"maxEntries"`
	// MaxBytes bounds the bytes of the reports kept. Default 64Mi.
	MaxBytes Bytes `json:"maxBytes"`
}

// Mutation says how a reference is pinned.
type Mutation struct {
	// Reference is tagAndDigest (repository:tag@digest, the default) or digest (repository@digest).
	Reference MutationReference `json:"reference"`
}

// MutationReference is a form of pinned references.
type MutationReference string

// The forms of a pinned reference.
const (
	TagAndDigest MutationReference = "tagAndDigest"
	DigestOnly   MutationReference = "digest"
)

// Duration is written as Go writes durations: 30s, 10m.
type Duration = ratify.Duration

// Bytes is written as a Kubernetes quantity: 67108864, 64Mi.
type Bytes int64

// UnmarshalJSON takes a number or a quantity; null is absence.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	q, err := resource.ParseQuantity(strings.Trim(string(data), `"`))
	// Compared as a float: an exact comparison writes out all digits of 1e99999999.
	if err != nil || q.Sign() <= 0 || q.AsApproximateFloat64() >= math.MaxInt64 {
		return fmt.Errorf("expected a positive quantity of bytes such as 64Mi, got %s", ratify.Truncate(string(data)))
	}
	*b = Bytes(q.Value())
	return nil
}

// Parse decodes a configuration in YAML or JSON, strictly: an unknown, misspelt or repeated field, a value of another
// type, and a value out of its range are errors, all of them told at once, each with its place. Defaults are filled in.
// The settings of stores and verifiers are left as they are; see Settings.Decode. Beside an error, the file is nil or
// holds what could be decoded: see Error.
func Parse(data []byte) (*File, error) {
	if strings.TrimSpace(string(data)) == "" {
		return nil, errors.New("the configuration is empty")
	}
	asJSON, err := toJSON(data)
	if err != nil {
		return nil, err
	}
	f := &File{}
	err = decode("", asJSON, f)
	f.defaults()
	return f, Join(err, f.validate())
}

// ParseTenant decodes the file of one tenant, as strictly.
func ParseTenant(data []byte) (*Tenant, error) {
	if strings.TrimSpace(string(data)) == "" {
		return nil, errors.New("the file is empty")
	}
	asJSON, err := toJSON(data)
	if err != nil {
		return nil, err
	}
	t := &Tenant{}
	err = decode("", asJSON, t)
	var errs []error
	for i, p := range t.Policies {
		if len(p.Namespaces) > 0 {
			errs = append(errs, fmt.Errorf("policies[%d] %q: namespaces: the file is for its own namespace alone, which its name says", i, p.Name))
		}
	}
	if len(errs) > 0 {
		return t, Join(err, &Error{faults: errs})
	}
	return t, err
}

func toJSON(data []byte) ([]byte, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err == nil {
		err = checkOneDocument(data)
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration is not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return asJSON, nil
}

// checkOneDocument refuses what follows behind a line of ---, which would be read by nobody.
func checkOneDocument(data []byte) error {
	documents := goyaml.NewDecoder(bytes.NewReader(data))
	for n := 1; ; n++ {
		var document any
		switch err := documents.Decode(&document); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n > 1 && document != nil:
			return errors.New("there is more than one document")
		}
	}
}

func (f *File) defaults() {
	f.Tenancy.WithoutPolicy = or(f.Tenancy.WithoutPolicy, WithoutPolicyCluster)
	f.GatekeeperCacheTTL = or(f.GatekeeperCacheTTL, Duration(30*time.Second))
	f.Concurrency = or(f.Concurrency, defaultConcurrency)
	f.Cache.TTL = or(f.Cache.TTL, Duration(10*time.Minute))
	f.Cache.RefusalTTL = or(f.Cache.RefusalTTL, Duration(10*time.Second))
	f.Cache.TagTTL = or(f.Cache.TagTTL, Duration(5*time.Second))
	f.Cache.MaxEntries = or(f.Cache.MaxEntries, 20000)
	f.Cache.MaxBytes = or(f.Cache.MaxBytes, 64<<20)
	f.Mutation.Reference = or(f.Mutation.Reference, TagAndDigest)
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func (f *File) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(f.Stores) == 0 {
		fail("stores: there is none, so no image could be read")
	}
	f.Tenancy.validate(fail)
	if f.Concurrency < 0 || f.Concurrency > maxConcurrency {
		fail("concurrency: expected a number from 1 to %d, got %d", maxConcurrency, f.Concurrency)
	}
	if f.Cache.MaxEntries < 0 {
		fail("cache: maxEntries: expected a positive number, got %d", f.Cache.MaxEntries)
	}
	if f.Mutation.Reference != TagAndDigest && f.Mutation.Reference != DigestOnly {
		fail("mutation: reference: expected %q or %q, got %q", TagAndDigest, DigestOnly, f.Mutation.Reference)
	}
	if len(errs) == 0 {
		return nil
	}
	return &Error{faults: errs}
}

func (t Tenancy) validate(fail func(format string, args ...any)) {
	if t.WithoutPolicy != WithoutPolicyCluster && t.WithoutPolicy != WithoutPolicyRefuse {
		fail("tenancy: withoutPolicy: expected %q or %q, got %q", WithoutPolicyCluster, WithoutPolicyRefuse, t.WithoutPolicy)
	}
	switch {
	case !t.Enabled && (t.Directory != "" || len(t.Delegate) > 0 || t.WithoutPolicy == WithoutPolicyRefuse):
		fail("tenancy: the other fields have no effect without enabled: true")
	case t.Directory == "" && len(t.Delegate) > 0:
		fail("tenancy: delegate: it has no effect without directory")
	case t.Directory != "" && len(t.Delegate) == 0:
		fail("tenancy: directory: its files can have no policy as long as delegate names no repositories")
	}
	for i, d := range t.Delegate {
		if len(d.Namespaces) == 0 || len(d.Scopes) == 0 {
			fail("tenancy: delegate[%d]: it needs namespaces and scopes", i)
		}
	}
}

// Settings are a module's own, as they were written.
type Settings struct {
	raw   json.RawMessage
	place string
}

// NewSettings makes settings from a value, for those who have no file. It panics on what JSON cannot hold.
func NewSettings(place string, value any) Settings {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return Settings{raw: raw, place: place}
}

// UnmarshalJSON keeps the settings as they are.
func (s *Settings) UnmarshalJSON(data []byte) error {
	s.raw = append(json.RawMessage(nil), data...)
	return nil
}

// MarshalJSON gives them back.
func (s Settings) MarshalJSON() ([]byte, error) {
	if s.raw == nil {
		return []byte("{}"), nil
	}
	return s.raw, nil
}

// Decode decodes the settings strictly into the Config of whoever they belong to: a pointer to a struct. Beside an error
// it holds what could be decoded: see Error.
func (s Settings) Decode(into any) error {
	if s.raw == nil {
		return nil
	}
	return decode(s.place, s.raw, into)
}

// Place is where the settings stand in the file: verifiers[0] "notation".
func (s Settings) Place() string { return s.place }
