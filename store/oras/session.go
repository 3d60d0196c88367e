package oras

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/ratify-provider/ratify"
)

const (
	userAgent = "ratify"
	// maxRedirects is one more than the longest chain seen at large registries: to a storage account, to its CDN.
	maxRedirects = 3
	// maxTokenAnswerBytes bounds a token server's answer: two tokens as long as a header can be, and some words.
	maxTokenAnswerBytes = 64 << 10
	// maxErrorBytes bounds what is read of an answer that is not used, so that its connection can be used again.
	maxErrorBytes = 8 << 10
)

// session sends requests for one repository under one credential, and decides for each request whether it may be sent.
// It is cheap and lives as long as the repository; what lasts longer is in the pool, under its key.
type session struct {
	entry  *entry
	pool   *Pool
	report func(hostClass string, status int)
	host   string // as in references
	path   string
	origin string // where requests for the registry go
	key    string // settings, origin and credential
	cred   auth.Credential
	hint   string // what to do where there is no credential, if that is known
	auth   *auth.Client

	authHosts, redirectHosts []hostPattern
}

func newSession(e *entry, host, path string, cred auth.Credential, deps Deps) *session {
	scheme := "https"
	if e.plainHTTP {
		scheme = "http"
	}
	authHosts, redirectHosts := builtInHosts(servingHost(host))
	s := &session{
		entry: e, pool: deps.Pool, report: deps.Observe, host: host, path: path, cred: cred,
		origin:    origin(&url.URL{Scheme: scheme, Host: servingHost(host)}),
		authHosts: append(authHosts, e.authHosts...), redirectHosts: append(redirectHosts, e.redirectHosts...),
	}
	s.key = fingerprint(e.client.key, s.origin, hostTexts(s.authHosts), hostTexts(s.redirectHosts),
		s.cred.Username, s.cred.Password, s.cred.RefreshToken, s.cred.AccessToken)
	s.auth = &auth.Client{
		Client: &http.Client{
			Transport:     &retry.Transport{Base: s, Policy: func() retry.Policy { return retryPolicy{s.pool.budget(s.origin)} }},
			CheckRedirect: s.checkRedirect,
		},
		Header:     http.Header{"User-Agent": {userAgent}},
		ClientID:   userAgent,
		Credential: s.credential,
		Cache:      (*tokenCache)(s),
		// Hosts are judged by session.allow and addresses when they are dialled; oras-go's own check would resolve the
		// realm's name a second time.
		BlockedRealmPrefixes: []netip.Prefix{},
	}
	return s
}

func hostTexts(patterns []hostPattern) string {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = strconv.FormatBool(p.below) + p.name + withColon(p.port)
	}
	return strings.Join(texts, " ")
}

// credential gives the credential for the registry's own host and for no other; hostport is the one of a request.
func (s *session) credential(_ context.Context, hostport string) (auth.Credential, error) {
	scheme, _, _ := strings.Cut(s.origin, "://")
	if origin(&url.URL{Scheme: scheme, Host: hostport}) != s.origin {
		return auth.EmptyCredential, nil
	}
	return s.cred, nil
}

// get asks the registry for something below the repository and hands a 200 to consume, whose body it closes. Other
// answers and all failures are *ratify.Error, or the context's error where the context ended.
func (s *session) get(ctx context.Context, url, accept string, consume func(*http.Response) error) error {
	if err := s.refusal(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.pool.requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, url, nil)
	if err != nil {
		return s.failure(ctx, err)
	}
	req.Header.Set("Accept", accept)
	req = req.WithContext(auth.AppendScopesForHost(limited, req.URL.Host, auth.ScopeRepository(s.path, auth.ActionPull)))
	resp, err := s.auth.Do(req)
	if err != nil {
		return s.failure(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, resp.Body) // bounded in RoundTrip; an error here changes nothing
		return s.failure(ctx, &statusError{status: resp.StatusCode})
	}
	err = consume(resp)
	if limited.Err() != nil {
		// A server that is told of the end may close its answer properly, and what was cut off looks whole.
		err = limited.Err()
	}
	if err != nil {
		return s.failure(ctx, err)
	}
	return nil
}

// RoundTrip is where every request passes, whoever built it: it refuses what may not be sent, takes away what may not be
// sent along, and bounds what comes back.
func (s *session) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := s.allow(req.URL, purposeOf(req)); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	sent := req.Clone(req.Context())
	sent.Header.Set("Accept-Encoding", "identity")
	// An address of a redirect may hold a signature that is meant for its host alone.
	sent.Header.Del("Referer")
	isToken := purposeOf(req) == forToken
	if !isToken && origin(req.URL) != s.origin {
		sent.Header.Del("Authorization")
		sent.Header.Del("Cookie")
	}
	resp, err := s.entry.client.RoundTrip(sent)
	if err != nil {
		s.report(s.entry.class, 0)
		return nil, err
	}
	s.report(s.entry.class, resp.StatusCode)
	// The request as it was: http.Client and oras-go compare the two, and a clone would look like a redirect.
	resp.Request = req
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		resp.Body.Close()
		return nil, &ratify.Error{Code: ratify.RegistryInvalid, Message: s.name(req.URL) + " answered with a compressed body, which was not asked for"}
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		resp.Body = limitBody(resp.Body, maxErrorBytes)
	case isToken:
		resp.Body = limitBody(resp.Body, maxTokenAnswerBytes)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		if err := s.reviewChallenge(resp, isToken); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	return resp, nil
}

// reviewChallenge leaves of a registry's challenges the one that is answered, and refuses one that leads to a token server
// that is not allowed. Nobody but the registry may challenge.
func (s *session) reviewChallenge(resp *http.Response, isToken bool) error {
	lines := resp.Header.Values("Www-Authenticate")
	resp.Header.Del("Www-Authenticate")
	if isToken || origin(resp.Request.URL) != s.origin {
		return nil
	}
	chosen, ok := chooseChallenge(lines)
	if !ok {
		return nil
	}
	if incomplete := s.cred.Username == "" || s.cred.Password == ""; chosen.scheme == schemeBasic && incomplete && s.cred != auth.EmptyCredential {
		e := &ratify.Error{
			Code: ratify.RegistryAuth, Message: s.quotedName() + " asks for a user name and a password, and the credential for it has not both",
			Remedy: "configure a user name and a password for this registry: an identity token is for registries that have a token server",
		}
		s.refuse(e, false)
		return e
	}
	if chosen.scheme == schemeBearer {
		realm, err := url.Parse(chosen.params["realm"])
		if err != nil || realm.Host == "" {
			return &ratify.Error{Code: ratify.RegistryInvalid, Message: s.quotedName() + " asks for a token from " + ratify.Quote(chosen.params["realm"]) + ", which is no address"}
		}
		if err := s.allow(realm, forToken); err != nil {
			return err
		}
	}
	resp.Header.Set("Www-Authenticate", chosen.String())
	return nil
}

func limitBody(body io.ReadCloser, limit int64) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(body, limit), body}
}

// purpose is why a request is sent; it decides where it may go.
type purpose int

const (
	forRegistry purpose = iota
	forToken
	byRedirect
)

type tokenRequestKey struct{}

// purposeOf tells by what marks it: tokenCache.Set marks the context, http.Client the request.
func purposeOf(req *http.Request) purpose {
	switch {
	case req.Context().Value(tokenRequestKey{}) != nil:
		return forToken
	case req.Response != nil:
		return byRedirect
	default:
		return forRegistry
	}
}

// allow says whether a request may be sent: to the registry, to its token server for a token, to a redirect host by a
// redirect. The registry chooses the addresses in challenges, redirects and links, and must not choose whom this process
// talks to (CVE-2025-27403, CVE-2026-48978).
func (s *session) allow(u *url.URL, why purpose) error {
	if u.User != nil {
		return &ratify.Error{
			Code: ratify.RegistryNotAllowed, Message: s.quotedName() + " leads to an address with a user name in it, at " + ratify.Quote(u.Host),
			Remedy: nothingAllows,
		}
	}
	if origin(u) == s.origin {
		return nil
	}
	secure := u.Scheme == "https"
	switch why {
	case forToken:
		plain := u.Scheme == "http" && s.entry.plainHTTP
		if (secure || plain) && matchAny(s.authHosts, u) {
			return nil
		}
		return s.notAllowed("sends its clients for a token to", u, "authHosts")
	case byRedirect:
		if secure && matchAny(s.redirectHosts, u) {
			return nil
		}
		return s.notAllowed("redirects to", u, "redirectHosts")
	default:
		return s.notAllowed("leads to", u, "")
	}
}

const nothingAllows = "nothing allows this; look for who changes the registry's answers"

// notAllowed refuses an address and names the field that would allow it, if any would.
func (s *session) notAllowed(what string, to *url.URL, field string) error {
	e := &ratify.Error{
		Code:    ratify.RegistryNotAllowed,
		Message: s.quotedName() + " " + what + " " + ratify.Quote(origin(to)) + ", which is not allowed",
		Remedy:  nothingAllows,
	}
	if field != "" {
		name, port := urlHost(to)
		e.Remedy = fmt.Sprintf("if it is meant, add %s to %s of the registry's entry in the store's settings; it must be HTTPS", ratify.Quote(name+withColon(port)), field)
	}
	return e
}

// checkRedirect bounds redirects; where they lead is judged by allow. A token server redirects nowhere but to itself, and
// what is no read is not repeated elsewhere.
func (s *session) checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("%s redirects more than %d times", s.quotedName(), maxRedirects)}
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return s.notAllowed("redirects a request that is no read to", req.URL, "")
	case purposeOf(req) == forToken && origin(first.URL) != origin(req.URL):
		return s.notAllowed("has a token server that redirects to", req.URL, "")
	}
	return nil
}

// refusal returns the error of a credential that was refused just now.
func (s *session) refusal() error {
	for _, key := range []string{s.key, s.key + s.path} {
		if e, ok := s.pool.refused.Get(key); ok {
			return e
		}
	}
	return nil
}

// refuse remembers a refused credential: for all repositories where it is a password that was refused, or else for this one.
func (s *session) refuse(e *ratify.Error, everywhere bool) {
	key := s.key + s.path
	if everywhere && s.cred != auth.EmptyCredential {
		key = s.key
	}
	s.pool.refused.Set(key, e, s.pool.refusedFor)
}

// tokenCache is the session as oras-go's cache of tokens. Keys hold the credential, which oras-go's own leaves out.
type tokenCache session

// GetScheme returns how the registry wanted to be authenticated to the last time.
func (c *tokenCache) GetScheme(_ context.Context, registry string) (auth.Scheme, error) {
	if scheme, ok := c.pool.schemes.Get(c.key + registry); ok {
		return scheme, nil
	}
	return auth.SchemeUnknown, errdef.ErrNotFound
}

// GetToken returns the kept token for the scopes in key.
func (c *tokenCache) GetToken(_ context.Context, registry string, scheme auth.Scheme, key string) (string, error) {
	if token, ok := c.pool.tokens.Get(c.tokenKey(registry, scheme, key)); ok {
		return token, nil
	}
	return "", errdef.ErrNotFound
}

func (c *tokenCache) tokenKey(registry string, scheme auth.Scheme, key string) string {
	return fingerprint(c.key, registry, scheme.String(), key)
}

// Set fetches a token, once for all who ask for the same at the same time, and keeps it. The fetch is under no caller's
// cancellation, and its context marks requests as those for a token.
func (c *tokenCache) Set(ctx context.Context, registry string, scheme auth.Scheme, key string, fetch func(context.Context) (string, error)) (string, error) {
	id := c.tokenKey(registry, scheme, key)
	done := c.pool.flights.DoChan(id, func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.pool.requestTimeout)
		defer cancel()
		token, err := fetch(context.WithValue(shared, tokenRequestKey{}, true))
		if err != nil {
			return "", err
		}
		if len(token) > maxTokenBytes || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return "", errors.New("the token is too long for a header, or has characters that no header holds")
		}
		c.pool.tokens.Set(id, token, tokenTTL)
		c.pool.schemes.Set(c.key+registry, scheme, tokenTTL)
		return token, nil
	})
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case result := <-done:
		if result.Err != nil {
			return "", result.Err
		}
		return result.Val.(string), nil
	}
}
