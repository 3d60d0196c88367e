package random

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A world is one registry script with the configurations under which it is asked about: all that the oracle is told, and
// all that the registry and the configuration are made of. Nothing in it is bytes: subjects and pieces of evidence are
// descriptions, which the pool makes once.
type world struct {
	seed uint64
	id   string
	// images say which subjects each repository holds, by tag or under no tag.
	images []image
	// lists are what is attached, by repository and subject, in the registry's order.
	lists map[place][]entry
	// tagged are the signatures under cosign's tag of a subject.
	tagged map[place][]piece
	// withoutAPI are the hosts that have no referrers API, and keep lists under the fallback tag.
	withoutAPI map[string]bool
	configs    []configuration
	phases     []phase
}

// A place is a subject in a repository.
type place struct{ repo, subject string }

// An image is a subject in a repository, under a tag where that is not empty.
type image struct{ repo, tag, subject string }

// A phase is a time in which nothing changes but by requests: one configuration, one state of the registry.
type phase struct {
	config int
	// reload puts the configuration into force anew, so that nothing decided before counts.
	reload bool
	// moved are tags that are on another subject than images says.
	moved    map[tagName]string
	faults   map[object]fault
	hosts    map[string]fault // by host: nothing can be read from it
	repos    map[string]fault // by repository
	requests []request
}

type tagName struct{ repo, tag string }

// An object is what one request to a registry asks for. ref is a tag, a subject or the name of a piece.
type object struct{ repo, kind, ref string }

// The kinds of objects.
const (
	byTag       = "tag"             // an image's manifest, by a tag
	byDigest    = "manifest"        // an image's manifest, by its digest
	listOf      = "referrers"       // what is attached to a subject, by the API or under the fallback tag
	cosignTag   = "cosign tag"      // what is under cosign's tag of a subject
	pieceOf     = "evidence"        // the manifest of a piece of evidence
	contentOf   = "evidence layer"  // what it holds
	noFault     = fault("")         //
	notFound    = fault("404")      // the registry says that it has no such thing
	notManifest = fault("no image") // JSON, but of no image
)

// A fault is what a registry does instead of answering.
type fault string

// unreadable are faults after which nobody knows what is there.
var unreadable = []fault{"403", "500", "truncated", "other bytes", "a page", "empty", "compressed"}

// passing are those that are asked again, once, after a moment.
var passing = []fault{"503", "reset"}

// An entry is one line of a list of referrers. What it says of the piece may be a lie.
type entry struct {
	piece piece
	// typed is the artifact type that the list has for it.
	typed string
	// lie is what else is wrong with the descriptor.
	lie lie
}

// A lie is what a descriptor in a list says wrongly.
type lie string

// The lies about a piece, beside one about its artifact type.
const (
	wrongSize  lie = "another size"
	hugeSize   lie = "a size beyond all bounds"
	noSize     lie = "a size below zero"
	wrongMedia lie = "the media type of an index"
	nowhere    lie = "the digest of nothing"
)

// A piece is a description of one piece of evidence; it is comparable, and the pool makes it once.
type piece struct {
	kind  kind
	by    maker
	on    string // the subject that its manifest names
	about string // the subject that was signed, or that a document was attested for
	flaw  flaw
	cose  bool
	dirty bool // says what the configuration disallows
	age   int  // of a document, in hours
	copy  int  // tells pieces apart that are otherwise the same
}

// A kind of evidence.
type kind string

// The kinds. A bill is a bill of materials; attached as it is it must be signed as an artifact of its own, attested it is
// signed by itself.
const (
	notary    kind = "notary"
	statement kind = "bundle"         // cosign 3's signature
	message   kind = "message bundle" // a signature over the image's manifest
	simple    kind = "simple signing" // under cosign's tag alone
	bill      kind = "attested bill"
	scan      kind = "attested scan"
	review    kind = "attested review"
	plainBill kind = "plain bill"
	junk      kind = "junk"
)

// attestation tells whether the kind is a statement in a bundle that says more than that its subject is signed.
func (k kind) attestation() bool { return k == bill || k == scan || k == review }

// A maker of evidence.
type maker string

// Authorities issue certificates of makers: acme has a good leaf and a lapsed one, sound one that is good and one that is
// revoked, and of ailing nobody can say whether it is revoked. beta's ends in some hours. Keys are for cosign.
const (
	acme     maker = "acme"
	lapsed   maker = "lapsed"
	beta     maker = "beta"
	sound    maker = "sound"
	revoked  maker = "revoked"
	ailing   maker = "ailing"
	stranger maker = "stranger"

	firstKey    maker = "first key"
	secondKey   maker = "second key"
	strangerKey maker = "stranger's key"
	builder     maker = "builder" // an identity of the private Sigstore
	visitor     maker = "visitor" // another one
	impostor    maker = "impostor"
)

// A flaw of a piece in itself.
type flaw string

// The flaws.
const (
	tampered   flaw = "tampered"
	expired    flaw = "expired signature"
	brief      flaw = "signature ends soon" // which is none, yet
	lyingSize  flaw = "signs another size"
	lyingMedia flaw = "signs another media type"
	oddLayer   flaw = "layer of another media type"
	twoLayers  flaw = "two layers"
	noSubject  flaw = "names no subject"
	layerSize  flaw = "lies about its layer's size"
	garbage    flaw = "garbage"
)

// A configuration is what an operator wrote.
type configuration struct {
	verifiers  []verifier
	policies   []policy
	exemptions []exemption
	mirrors    []mirror
	tenancy    bool
	refuse     bool // tenants without a policy of their own
	cached     bool // verdicts and tags are kept; without it not at all
}

// A verifier of a configuration.
type verifier struct {
	name    string
	kind    verifierKind
	trusted []maker // authorities, keys, or identities
	// only is the one identity that is trusted, of the notary verifier; empty is all.
	only maker
	// level is the trust policy's for all repositories, and special for the ones of specials.
	level    level
	special  level
	specials []string
	tags     bool     // cosign's tags are looked at
	signedBy []string // who proves documents
	pieces   string   // which decide; empty is the kind's default
}

type verifierKind string

// The kinds of verifiers.
const (
	byNotary   verifierKind = "notation"
	byCosign   verifierKind = "cosign"
	byIdentity verifierKind = "keyless"
	ofBills    verifierKind = "sbom"
	ofScans    verifierKind = "vulnerability"
	ofReviews  verifierKind = "attestation"
)

// A level of a trust policy. Empty is no statement at all.
type level string

// The levels.
const (
	strict level = "strict"
	audit  level = "audit"
	skip   level = "skip"
)

// A policy of a configuration.
type policy struct {
	name       string
	namespaces []string
	scopes     []string
	require    tree
	rule       condition
	audit      bool
	platforms  string
}

// A tree is what must pass. At a leaf it names a verifier; need 0 is all.
type tree struct {
	verifier string
	need     int
	of       []tree
	flat     bool // written as a list of verifiers and a number
}

// A condition is what a rule of a policy says: one of a few expressions.
type condition struct {
	form string
	text string
}

// The forms of conditions.
const (
	noRule       = ""
	atLeastTwo   = "at least two pieces passed"
	passedBy     = "a piece passed for the verifier"
	inRepository = "the repository is"
	always       = "true"
)

// An exemption of a configuration.
type exemption struct {
	scopes     []string
	subjects   []string // by digest
	namespaces []string
	lasts      time.Duration // from the beginning of the run; below zero it has ended
}

// A mirror of a configuration. Both sides are host/*, host/path/* or a repository.
type mirror struct {
	from, as string
	origin   bool // evidence is read there
}

// A request asks about keys.
type request struct{ keys []key }

// A key is one image reference. bad is one that no runtime understands, as it is written.
type key struct {
	namespace    string
	repo         string
	tag, subject string
	spelling     spelling
	bad          string
}

// malformed tells a key that is written as bad says, be it nothing at all.
func (k key) malformed() bool { return k.repo == "" }

// A spelling of a reference.
type spelling string

// The spellings. Short ones are for docker.io alone.
const (
	plain     spelling = ""
	upperHost spelling = "host in upper case"
	withPort  spelling = "default port"
	shortName spelling = "short name"
	indexHost spelling = "index.docker.io"
	noTag     spelling = "no tag"
	both      spelling = "tag and digest"
)

const dockerHub = "docker.io"

// hostOf is the host of a repository.
func hostOf(repo string) string {
	host, _, _ := strings.Cut(repo, "/")
	return host
}

// subjectAt is what a tag is on in a phase.
func (w *world) subjectAt(p *phase, name tagName) (subject string, ok bool) {
	if s, ok := p.moved[name]; ok {
		return s, true
	}
	for _, i := range w.images {
		if i.repo == name.repo && i.tag == name.tag {
			return i.subject, true
		}
	}
	return "", false
}

// holds tells whether a repository has a subject.
func (w *world) holds(repo, subject string) bool {
	return slices.ContainsFunc(w.images, func(i image) bool { return i.repo == repo && i.subject == subject })
}

// faultOf is what is wrong with an object in a phase.
func (p *phase) faultOf(o object) fault {
	return cmp.Or(p.hosts[hostOf(o.repo)], p.repos[o.repo], p.faults[o])
}

// String describes the world for whoever looks for what is wrong: one fact a line.
func (w *world) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("world %d", w.seed)
	for _, i := range w.images {
		line("  image %s:%s is %s", i.repo, i.tag, i.subject)
	}
	for host := range w.withoutAPI {
		line("  host %s has no referrers API", host)
	}
	for _, at := range sortedPlaces(w.lists) {
		line("  attached to %s in %s:", at.subject, at.repo)
		for i, e := range w.lists[at] {
			if i == 8 && len(w.lists[at]) > 16 {
				line("    … %d in all", len(w.lists[at]))
			}
			if i < 8 || len(w.lists[at]) <= 16 || i >= len(w.lists[at])-2 {
				line("    %+v typed %q lie %q", e.piece, e.typed, e.lie)
			}
		}
	}
	for _, at := range sortedPlaces(w.tagged) {
		line("  under cosign's tag of %s in %s: %+v", at.subject, at.repo, w.tagged[at])
	}
	for i, c := range w.configs {
		line("  configuration %d: cached %v, tenancy %v, refuse %v, exemptions %+v, mirrors %+v", i, c.cached, c.tenancy, c.refuse, c.exemptions, c.mirrors)
		for _, v := range c.verifiers {
			line("    verifier %+v", v)
		}
		for _, p := range c.policies {
			line("    policy %+v", p)
		}
	}
	for i, p := range w.phases {
		line("  phase %d: configuration %d, reload %v, moved %v, hosts %v, repositories %v", i, p.config, p.reload, p.moved, p.hosts, p.repos)
		for o, f := range p.faults {
			line("    fault %s at %+v", f, o)
		}
		for _, r := range p.requests {
			line("    request %+v", r.keys)
		}
	}
	return b.String()
}

func sortedPlaces[T any](m map[place]T) []place {
	var places []place
	for at := range m {
		places = append(places, at)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(strings.Compare(a.repo, b.repo), strings.Compare(a.subject, b.subject))
	})
	return places
}
