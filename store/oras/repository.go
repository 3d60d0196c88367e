package oras

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
)

// maxPages bounds the pages of one list of referrers: ratify.MaxReferrers in pages of 50, the smallest that registries
// are known to make.
const maxPages = 10

// repository is one repository of a registry, under one credential.
type repository struct {
	session *session
	name    string
	path    string
}

// Name is the canonical name: host/path.
func (r *repository) Name() string { return r.name }

// manifestTypes are what Resolve accepts, in the order of preference.
func manifestTypes() string {
	return strings.Join([]string{
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, ratify.MediaTypeDockerManifestList, ratify.MediaTypeDockerManifest,
	}, ", ")
}

// Resolve reads the manifest behind a tag or a digest and computes its descriptor.
func (r *repository) Resolve(ctx context.Context, reference string) (desc ocispec.Descriptor, manifest []byte, err error) {
	if err := (registry.Reference{Registry: r.session.host, Repository: r.path, Reference: reference}).ValidateReference(); err != nil || reference == "" {
		return ocispec.Descriptor{}, nil, &ratify.Error{Code: ratify.BadReference, Message: ratify.Quote(reference) + " is neither a tag nor a digest", Err: err}
	}
	wanted, algorithm := digest.Digest(""), digest.Algorithm("")
	if strings.Contains(reference, ":") {
		wanted = digest.Digest(reference)
		algorithm = wanted.Algorithm()
	}
	err = r.session.get(ctx, r.url(kindManifests, reference), manifestTypes(), func(resp *http.Response) error {
		return r.read(ctx, resp, ratify.MaxManifestBytes, func(data []byte) (err error) {
			if wanted != "" && algorithm.FromBytes(data) != wanted {
				return r.mismatch("the digest that was asked for")
			}
			if !json.Valid(data) {
				// No registry stores such a manifest: this is a proxy's page or a server's mishap, and may be gone the next time.
				return r.mismatch("a manifest: it is not JSON")
			}
			manifest = data
			desc, err = ratify.DescribeManifest(data, algorithm, mediaTypeOf(resp))
			return err
		})
	})
	switch {
	case isNotFound(err):
		err = &ratify.Error{Code: ratify.SubjectNotFound, Message: r.session.quotedName() + " has no " + ratify.Quote(r.path+separator(reference)+reference), Err: err}
	case errors.Is(err, content.ErrTooLarge):
		err = &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("the image's manifest is larger than %d bytes", ratify.MaxManifestBytes)}
	}
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	return desc, manifest, nil
}

// Below these a registry keeps what it has, and so a digest may be there as a blob and not as a manifest.
const (
	kindManifests = "manifests"
	kindBlobs     = "blobs"
)

// kindOf is below which of them a registry has what a descriptor leads to.
func kindOf(desc ocispec.Descriptor) string {
	if ratify.IsManifest(desc.MediaType) {
		return kindManifests
	}
	return kindBlobs
}

// Fetch reads a manifest or blob and checks it against its descriptor, one that content.CheckDescriptor lets pass.
func (r *repository) Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	kind, accept := kindOf(desc), "*/*"
	if kind == kindManifests {
		// The other types are accepted too: asked for a type that its manifest is not of, some registries say that there is
		// none, and others convert it.
		accept = desc.MediaType + ", " + manifestTypes()
	}
	var data []byte
	err := r.session.get(ctx, r.url(kind, desc.Digest.String()), accept, func(resp *http.Response) (err error) {
		data, err = r.readDescribed(ctx, resp, desc)
		return err
	})
	if isNotFound(err) {
		err = &ratify.Error{Code: ratify.RegistryInvalid, Message: r.session.quotedName() + " does not have " + desc.Digest.String() + ", which it refers to", Err: err}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// readDescribed reads a body and checks it against its descriptor.
func (r *repository) readDescribed(ctx context.Context, resp *http.Response, desc ocispec.Descriptor) ([]byte, error) {
	bound := content.Bound(desc)
	if resp.ContentLength > bound {
		return nil, content.TooLarge(desc)
	}
	body := r.session.pool.bound(ctx, r.session.owner, resp.Body, bound)
	defer body.release()
	data, err := content.ReadDescribed(body, desc, body.stop)
	if errors.Is(err, content.ErrOtherDigest) {
		return nil, r.mismatch("the digest that was asked for")
	}
	if err == nil {
		body.handOver(ctx)
	}
	return data, err
}

func (r *repository) mismatch(what string) *ratify.Error {
	return &ratify.Error{Code: ratify.RegistryInvalid, Message: "what " + r.session.quotedName() + " answered is not " + what}
}

// read reads a body of at most limit bytes and hands it to use, until whose end it counts as in flight; a longer one is
// content.ErrTooLarge.
func (r *repository) read(ctx context.Context, resp *http.Response, limit int64, use func([]byte) error) error {
	if resp.ContentLength > limit {
		return content.ErrTooLarge
	}
	body := r.session.pool.bound(ctx, r.session.owner, resp.Body, limit)
	defer body.release()
	data, err := content.Read(body, limit)
	if err != nil {
		return err
	}
	return use(data)
}

// url builds the address of something in the repository. What is put in has been checked: it holds no separator.
func (r *repository) url(kind, reference string) string {
	u, err := url.Parse(r.session.origin)
	if err != nil {
		return "" // NewRequest refuses it
	}
	u.Path = "/v2/" + r.path + "/" + kind + "/" + reference
	return u.String()
}

// Referrers lists what the registry says refers to the subject, by the referrers API or the tag that takes its place
// (distribution specification 1.1, "Listing Referrers"). Nothing is filtered by the registry. Where a bound is reached,
// what was read is returned together with a LIMIT_EXCEEDED error.
//
// That nothing is attached refuses an image for good, so it is said only where, in this very call, the API answered with
// an empty list, or with 404 and the tag held none. What is remembered of a registry without the API only puts the tag
// first. Such a registry gets two requests for an image without signatures, each time; for one that has a list under the
// tag it gets two the first time, and one as long as this is remembered.
func (r *repository) Referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if err := content.CheckSubject(subject); err != nil {
		return nil, err
	}
	key := r.session.key + r.path
	tagFirst, _ := r.session.pool.tagOnly.Get(key)
	remember := func(tagFirst bool) { r.session.pool.tagOnly.Set(key, tagFirst, r.session.pool.capabilityTTL) }
	if tagFirst {
		found, err := r.referrersByTag(ctx, subject)
		if err != nil {
			remember(false) // the API may do better the next time
		}
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	list := &listing{seen: map[claim]bool{}, left: ratify.MaxManifestBytes}
	err := r.referrersByAPI(ctx, subject, list)
	if !isNotFound(err) {
		if tagFirst && err == nil {
			remember(false)
		}
		return list.result(err)
	}
	if tagFirst {
		return nil, nil // the tag held none, just now
	}
	found, err := r.referrersByTag(ctx, subject)
	if err == nil {
		remember(true)
	}
	return found, err
}

// claim is what tells two descriptors of a list apart.
type claim struct {
	digest                  digest.Digest
	size                    int64
	mediaType, artifactType string
}

// listing gathers descriptors from pages, within the bounds of one subject.
type listing struct {
	found []ocispec.Descriptor
	seen  map[claim]bool
	left  int64 // bytes that may still be read, over all pages
}

// add keeps the descriptors of a page that are not listed yet.
func (l *listing) add(page content.Index) error {
	for _, d := range page.Manifests {
		c := claim{d.Digest, d.Size, d.MediaType, d.ArtifactType}
		if l.seen[c] {
			continue
		}
		if len(l.found) == ratify.MaxReferrers {
			return tooMany()
		}
		l.seen[c] = true
		l.found = append(l.found, d)
	}
	if page.More {
		return tooMany()
	}
	return nil
}

// result gives what was found, with a limit that was reached, and nothing with any other error.
func (l *listing) result(err error) ([]ocispec.Descriptor, error) {
	if errors.Is(err, content.ErrTooLarge) {
		err = tooMany()
	}
	var e *ratify.Error
	if err == nil || errors.As(err, &e) && e.Code == ratify.LimitExceeded {
		return l.found, err
	}
	return nil, err
}

func tooMany() *ratify.Error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("more than %d artifacts, or more pages of them than are read, are attached to the image", ratify.MaxReferrers)}
}

// referrersByAPI reads all pages of the list. Only an error that isNotFound says that the registry has no such API. A 200
// that is no index does not: the registries known to answer so for want of the API get there by a redirect to a page where
// people log in, on a host that session.allow refuses, and any other may be down for maintenance.
func (r *repository) referrersByAPI(ctx context.Context, subject ocispec.Descriptor, list *listing) error {
	asked := map[string]bool{}
	for next := r.url("referrers", subject.Digest.String()); next != ""; {
		if len(asked) == maxPages || asked[next] {
			return tooMany()
		}
		asked[next] = true
		var link string
		err := r.session.get(ctx, next, ocispec.MediaTypeImageIndex, func(resp *http.Response) (err error) {
			if mediaTypeOf(resp) != ocispec.MediaTypeImageIndex {
				return r.mismatch("an index of referrers")
			}
			if err := r.readPage(ctx, resp, list, nil); err != nil {
				return err
			}
			link, err = r.nextPage(resp)
			return err
		})
		if isNotFound(err) && len(asked) > 1 {
			return r.mismatch("the next page of the list that it began") // and so the API is there
		}
		if err != nil {
			return err
		}
		next = link
	}
	return nil
}

// readPage reads one index of referrers into the list; sum, if any, gets its bytes too.
func (r *repository) readPage(ctx context.Context, resp *http.Response, list *listing, sum io.Writer) error {
	body := r.session.pool.bound(ctx, r.session.owner, resp.Body, list.left)
	defer body.release()
	var source io.Reader = body
	if sum != nil {
		source = io.TeeReader(body, sum)
	}
	page, err := content.ReadIndex(source, ratify.MaxReferrers)
	list.left = body.left
	if page.MediaType != "" && page.MediaType != ocispec.MediaTypeImageIndex {
		return r.mismatch("an index of referrers")
	}
	if addErr := list.add(page); addErr != nil {
		return addErr
	}
	return err
}

// nextPage returns the address of the next page (RFC 8288), or "". The registry writes it: it must lead to the same
// repository, and session.allow looks at its host once more.
func (r *repository) nextPage(resp *http.Response) (string, error) {
	target := nextLink(resp.Header.Values("Link"))
	if target == "" {
		return "", nil
	}
	u, err := resp.Request.URL.Parse(target)
	if err != nil {
		return "", r.mismatch("a list with a link to its next page that can be read")
	}
	if u.User != nil || origin(u) != r.session.origin || !strings.HasPrefix(u.EscapedPath(), "/v2/"+r.path+"/") || strings.Contains(u.Path, "..") {
		return "", r.session.notAllowed("has its next page of referrers at", u, "")
	}
	u.Fragment = ""
	return u.String(), nil
}

// nextLink returns the target of the first link with the relation next; registries that leave the relation out mean it.
func nextLink(lines []string) string {
	for _, line := range lines {
		start, end := strings.IndexByte(line, '<'), strings.IndexByte(line, '>')
		if start < 0 || end < start {
			continue
		}
		params := line[end+1:]
		if strings.Contains(params, "rel=") && !strings.Contains(params, `rel="next"`) && !strings.Contains(params, "rel=next") {
			continue
		}
		return line[start+1 : end]
	}
	return ""
}

// referrersByTag reads the index under the tag that clients keep where the API is missing ("Referrers Tag Schema"). There
// is none where the tag is not there, or is on an image.
func (r *repository) referrersByTag(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	list := &listing{seen: map[claim]bool{}, left: ratify.MaxManifestBytes}
	own := false
	// All types are accepted: asked for an index alone, some registries convert what else is there.
	err := r.session.get(ctx, r.url(kindManifests, content.ReferrersTag(subject.Digest)), manifestTypes(), func(resp *http.Response) error {
		if mediaTypeOf(resp) != ocispec.MediaTypeImageIndex {
			return r.checkImage(ctx, resp)
		}
		hash := subject.Digest.Algorithm().Hash()
		err := r.readPage(ctx, resp, list, hash)
		// An index that is its own list of referrers is the subject: its children are platforms.
		own = digest.NewDigest(subject.Digest.Algorithm(), hash) == subject.Digest
		return err
	})
	if isNotFound(err) || own {
		return nil, nil
	}
	return list.result(err)
}

// checkImage checks that what the fallback tag is on is whole and another manifest than a list: some registries find the
// subject itself under this tag, and anybody may tag an image so. Whatever else is answered tells nothing about a list.
func (r *repository) checkImage(ctx context.Context, resp *http.Response) error {
	claimed := mediaTypeOf(resp)
	err := r.read(ctx, resp, ratify.MaxManifestBytes, func(data []byte) error {
		desc, err := ratify.DescribeManifest(data, "", claimed)
		if err != nil || desc.MediaType != claimed {
			return r.mismatch("an index of referrers, nor an image")
		}
		return nil
	})
	if errors.Is(err, content.ErrTooLarge) {
		return r.mismatch("an index of referrers, nor an image of a size that is read")
	}
	return err
}

func mediaTypeOf(resp *http.Response) string {
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

// separator is what stands before a tag or a digest in a reference.
func separator(reference string) string {
	if strings.Contains(reference, ":") {
		return "@"
	}
	return ":"
}

// isNotFound tells a 404 of the registry from one of its token server.
func isNotFound(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.status == http.StatusNotFound && !s.token
}
