package oras

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
)

// maxAttempts bounds the credentials that are tried for one read: each costs the registry up to three requests, and a
// tenant's pull secrets are the tenant's choice.
const maxAttempts = 8

// access is a repository under whichever credential the registry accepts. A read is done whole under one credential: a
// list of referrers is never put together from what two of them see.
type access struct {
	entry  *entry
	deps   Deps
	name   string
	target target

	mu     sync.Mutex
	opened map[auth.Credential]*repository
}

// Name is the canonical name: host/path.
func (a *access) Name() string { return a.name }

// Resolve reads the manifest behind a tag or a digest and computes its descriptor.
func (a *access) Resolve(ctx context.Context, reference string) (desc ocispec.Descriptor, err error) {
	if desc, ok := a.known(ctx, reference); ok {
		return desc, nil
	}
	var manifest []byte
	doubt, err := a.try(ctx, func(r *repository) (err error) {
		desc, manifest, err = r.Resolve(ctx, reference)
		return err
	})
	var e *ratify.Error
	if doubt != nil && errors.As(err, &e) && e.Code == ratify.SubjectNotFound {
		err = doubt // the one who could not be asked may have seen it
	}
	if err == nil {
		a.keep(kindManifests, desc.Digest, manifest)
	}
	return desc, err
}

// Fetch reads a manifest or blob and checks it against its descriptor.
func (a *access) Fetch(ctx context.Context, desc ocispec.Descriptor) (data []byte, err error) {
	if err := content.CheckDescriptor(desc); err != nil {
		return nil, err
	}
	if data, ok, err := a.fetchKnown(ctx, desc); ok {
		return data, err
	}
	_, err = a.try(ctx, func(r *repository) (err error) {
		data, err = r.Fetch(ctx, desc)
		return err
	})
	if err == nil {
		a.keep(kindOf(desc), desc.Digest, data)
	}
	return data, err
}

// Referrers lists what the registry says refers to the subject.
func (a *access) Referrers(ctx context.Context, subject ocispec.Descriptor) (found []ocispec.Descriptor, err error) {
	doubt, err := a.try(ctx, func(r *repository) (err error) {
		found, err = r.Referrers(ctx, subject)
		return err
	})
	if doubt != nil && err == nil && len(found) == 0 {
		err = doubt // nothing attached refuses an image for good, and somebody else may have been shown more
	}
	return found, err
}

// as is the repository under a credential.
func (a *access) as(cred auth.Credential) *repository {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r, ok := a.opened[cred]; ok {
		return r
	}
	if a.opened == nil {
		a.opened = map[auth.Credential]*repository{}
	}
	r := &repository{session: newSession(a.entry, a.target.host, a.target.path, cred, a.deps), name: a.name, path: a.target.path}
	if len(a.opened) < maxAttempts { // credentials change while a repository is open, but not often
		a.opened[cred] = r
	}
	return r
}

// attempts are what one read has tried.
type attempts struct {
	count   int
	refused []string // by which sources
	failed  []string // the sources that could not be asked, and why
	hint    string
	last    *ratify.Error // the registry's last refusal
	session *session      // whose credential that was about
	failure error         // of the first source that could not be asked
}

// try does a read under the credential of one source after the other until the registry accepts one. Doubt is not nil where
// a source before could not be asked: what another may not see may be there all the same.
func (a *access) try(ctx context.Context, read func(*repository) error) (doubt *ratify.Error, err error) {
	var tried attempts
	tell := traceOf(ctx)
	for _, s := range a.entry.sources {
		why, ok := s.serves(a.target)
		if !ok {
			tell(SourceUse{Registry: a.target.host, Place: s.place, Source: s.label, Use: PassedOver, Why: why})
			tried.passOver(s, why)
			continue
		}
		found, none, err := s.find(ctx, a.target)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ask %s for credentials: %w", s.label, ctx.Err())
		}
		if err != nil {
			tell(SourceUse{Registry: a.target.host, Place: s.place, Source: s.label, Use: Failed, Why: err.Error()})
			tried.fail(err)
			continue
		}
		if len(found) == 0 {
			tell(SourceUse{Registry: a.target.host, Place: s.place, Source: s.label, Use: PassedOver, Why: none})
			tried.passOver(s, none)
		}
		for _, c := range found {
			if done, err := a.attempt(&tried, c, s.place, tell, read); done {
				return tried.doubt(a), err
			}
		}
	}
	switch {
	case tried.last != nil:
		return nil, tried.exhausted()
	case tried.failure != nil:
		return nil, tried.doubt(a)
	}
	return nil, a.anonymously(tried.hint, tell, read)
}

// attempt does the read under one credential, and tells whether the matter is settled: it is unless the registry refuses
// the credential.
func (a *access) attempt(tried *attempts, c candidate, place string, tell func(SourceUse), read func(*repository) error) (settled bool, err error) {
	if tried.count == maxAttempts {
		e := tried.exhausted()
		e.Message += fmt.Sprintf("; there are more than %d, and more are not tried", maxAttempts)
		return true, e
	}
	tried.count++
	tried.rest()
	r := a.as(c.cred)
	err = read(r)
	refusal := refusalOf(err)
	if refusal == nil {
		tell(SourceUse{Registry: a.target.host, Place: place, Source: c.from, Use: useOf(err), Why: reasonOf(err)})
		return true, err
	}
	tell(SourceUse{Registry: a.target.host, Place: place, Source: c.from, Use: Refused, Why: refusal.UserMessage()})
	tried.last, tried.session = refusal, r.session
	tried.refused = append(tried.refused, c.from)
	if c.forget != nil {
		c.forget()
	}
	return false, nil
}

// anonymously does the read without a credential. An error says why there was none, if that can be helped.
func (a *access) anonymously(hint string, tell func(SourceUse), read func(*repository) error) error {
	r := a.as(auth.EmptyCredential)
	err := read(r)
	use := SourceUse{Registry: a.target.host, Source: "no credentials", Use: useOf(err), Why: reasonOf(err)}
	refusal := refusalOf(err)
	if refusal != nil {
		use.Use = Refused
	}
	tell(use)
	if refusal == nil || hint == "" {
		return err
	}
	hinted := *refusal
	hinted.Remedy = hint
	return &hinted
}

// refusalOf returns the error by which a registry, or its token server, does not let a credential in.
func refusalOf(err error) *ratify.Error {
	var e *ratify.Error
	if errors.As(err, &e) && e.Code == ratify.RegistryAuth {
		return e
	}
	return nil
}

// rest makes the credential that was refused last rest, for there is another: a 403, too, which refuses a right to this
// repository and is not remembered of a credential that stands alone.
func (t *attempts) rest() {
	if t.session != nil {
		t.session.refuse(t.last, false)
	}
}

func (t *attempts) fail(err error) {
	t.failed = append(t.failed, err.Error())
	if t.failure == nil {
		t.failure = err
	}
}

// passOver keeps what an operator can do about a source that was passed over.
func (t *attempts) passOver(s *source, why string) {
	switch why {
	case otherRepository, otherNamespace, notMatchedByFile:
	case leftToHelper:
		t.hint = why + ": put the credentials into its auths, or name the helper as a source of its own"
	case namespacesOwn:
		if t.hint == "" {
			t.hint = "the registry has credentials for the images of namespaces alone, and none was asked about, as in every mutation: write such images with their digest, or give the registry a source for the cluster"
		}
	case clustersOwn:
		if t.hint == "" {
			t.hint = "the registry has credentials for the cluster alone: add namespaces to those that the images of namespaces may be read with, or a source pullSecrets"
		}
	default:
		if s.tenants {
			t.hint = "give the service account of the namespace a pull secret for this registry: " + why
		}
	}
}

// doubt is the error of the sources that could not be asked, nil if there is none.
func (t *attempts) doubt(a *access) *ratify.Error {
	if t.failure == nil {
		return nil
	}
	var known *ratify.Error
	if errors.As(t.failure, &known) {
		return known
	}
	return &ratify.Error{
		Code:    ratify.RegistryAuth,
		Message: "credentials for registry " + ratify.Truncate(a.target.host) + " could not be obtained: " + ratify.Truncate(strings.Join(t.failed, "; ")),
		Remedy:  "try again; if it lasts, run ratify login-check with this image where ratify runs",
		Err:     t.failure,
	}
}

// exhausted is the last refusal, with the sources that were tried.
func (t *attempts) exhausted() *ratify.Error {
	e := *t.last
	e.Message = e.UserMessage() + "; tried " + ratify.Truncate(strings.Join(t.refused, ", "))
	if len(t.failed) > 0 {
		e.Message += "; could not ask: " + ratify.Truncate(strings.Join(t.failed, "; "))
	}
	return &e
}
