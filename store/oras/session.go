package oras

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/inflight"
	"github.com/ratify-provider/ratify/internal/listhash"
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
	entry       *entry
	pool        *Pool
	report      func(hostClass string, status int)
	tellBreaker func(BreakerChange)
	host        string // as in references
	path        string
	origin      string // where requests for the registry go
	scheme      string // and hostport: those of origin
	hostport    string
	key         string // settings, origin and credential
	registryKey string // settings and origin
	owner       string // who holds what is in flight from here
	cred        auth.Credential
	auth        *auth.Client
	scopes      context.Context // see scopesFor
	pace        *pacer          // of the registry
	budget      *retryBudget

	arrival uint64        // among the sessions of the pool
	asked   atomic.Uint64 // requests so far

	authHosts, redirectHosts []hostPattern
}

func newSession(e *entry, host, path string, cred auth.Credential, deps Deps) *session {
	authHosts, redirectHosts := builtInHosts(servingHost(host))
	s := &session{
		entry: e, pool: deps.Pool, report: deps.Observe, tellBreaker: deps.Breaker, host: host, path: path, cred: cred, scheme: e.scheme(), origin: e.origin(host),
		authHosts: append(authHosts, e.authHosts...), redirectHosts: append(redirectHosts, e.redirectHosts...),
	}
	s.hostport = strings.TrimPrefix(s.origin, s.scheme+"://")
	s.registryKey = e.client.key + s.origin
	s.owner = inflight.Owner(host)
	s.key = listhash.Sum(e.client.key, s.origin, hostTexts(s.authHosts), hostTexts(s.redirectHosts),
		s.cred.Username, s.cred.Password, s.cred.RefreshToken, s.cred.AccessToken)
	s.scopes = scopesFor(s.hostport, path)
	s.arrival = s.pool.arrivals.Add(1)
	s.pace, s.budget = s.pool.pacer(s.key), s.pool.budget(s.origin)
	s.auth = &auth.Client{
		Client:     &http.Client{Transport: (*sender)(s), CheckRedirect: s.checkRedirect},
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
	if !s.isRegistry(&url.URL{Scheme: s.scheme, Host: hostport}) {
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
	c := s.pool.newCall(ctx, forRegistry)
	defer c.end()
	c.scopes = s.scopes
	resp, err := s.ask(c, url, accept)
	if err != nil {
		return s.failure(ctx, c.cause(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		drain(resp)
		return s.failure(ctx, &statusError{status: resp.StatusCode})
	}
	err = consume(resp)
	if c.Err() != nil {
		// A server that is told of the end may close its answer properly, and what was cut off looks whole.
		err = context.Cause(c.Context)
	}
	if err != nil {
		return s.failure(ctx, err)
	}
	return nil
}

// do sends a request once it is authenticated as far as is known how.
func (s *session) do(c *call, url, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	return s.auth.Do(req)
}

// isRegistry tells whether a URL leads to the registry itself.
func (s *session) isRegistry(u *url.URL) bool {
	return u.Scheme == s.scheme && u.Host == s.hostport || origin(u) == s.origin
}

// exchange sends a request that may be sent: it takes away what may not be sent along, and bounds what comes back.
func (s *session) exchange(req *http.Request, c *call) (*http.Response, error) {
	sent := req.WithContext(req.Context())
	sent.Header = req.Header.Clone()
	sent.Header["Accept-Encoding"] = []string{"identity"}
	// An address of a redirect may hold a signature that is meant for its host alone.
	delete(sent.Header, "Referer")
	isToken := c.purpose == forToken
	if !isToken && !s.isRegistry(req.URL) {
		delete(sent.Header, "Authorization")
		delete(sent.Header, "Cookie")
	}
	resp, err := s.through(s.gate(req.URL), sent)
	if err != nil {
		return nil, err
	}
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
		if err := s.readToken(resp, c); err != nil {
			return nil, err
		}
	}
	if isToken && resp.StatusCode/100 == 3 {
		if err := s.checkTokenRedirect(resp); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	if resp.StatusCode == http.StatusUnauthorized {
		if err := s.challenged(resp, c); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	return resp, nil
}

// through sends a request past the breaker of its server.
func (s *session) through(g gate, req *http.Request) (resp *http.Response, err error) {
	probe, err := g.enter(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	met, words, remedy := gotNothing, "", ""
	defer func() { g.leave(probe, met, words, remedy) }()
	resp, err = s.entry.client.RoundTrip(req)
	met, words, remedy = outcomeOf(req.Context(), resp, err)
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	s.report(s.entry.class, status)
	return resp, err
}

// challenged looks at a challenge that has come, and takes note of the registry's.
func (s *session) challenged(resp *http.Response, c *call) error {
	chosen, err := s.reviewChallenge(resp, c.purpose == forToken)
	if err != nil || c.purpose == forToken || !s.isRegistry(resp.Request.URL) {
		return err
	}
	return s.hear(c, chosen, strings.TrimPrefix(resp.Request.Header.Get("Authorization"), "Bearer "))
}

// reviewChallenge leaves of a registry's challenges the one that is answered, and refuses one that leads to a token server
// that is not allowed. Nobody but the registry may challenge.
func (s *session) reviewChallenge(resp *http.Response, isToken bool) (chosen challenge, err error) {
	lines := resp.Header.Values("Www-Authenticate")
	resp.Header.Del("Www-Authenticate")
	if isToken || !s.isRegistry(resp.Request.URL) {
		return challenge{}, nil
	}
	chosen, ok := chooseChallenge(lines)
	if !ok {
		return challenge{}, nil
	}
	if incomplete := s.cred.Username == "" || s.cred.Password == ""; chosen.scheme == schemeBasic && incomplete && s.cred != auth.EmptyCredential {
		e := &ratify.Error{
			Code: ratify.RegistryAuth, Message: s.quotedName() + " asks for a user name and a password, and the credential for it has not both",
			Remedy: "configure a user name and a password for this registry: an identity token is for registries that have a token server",
		}
		s.refuse(e, false)
		return challenge{}, e
	}
	if chosen.scheme == schemeBearer {
		realm, err := url.Parse(chosen.params["realm"])
		if err != nil || realm.Host == "" {
			return challenge{}, &ratify.Error{Code: ratify.RegistryInvalid, Message: s.quotedName() + " asks for a token from " + ratify.Quote(chosen.params["realm"]) + ", which is no address"}
		}
		if err := s.allow(realm, forToken); err != nil {
			return challenge{}, err
		}
	}
	resp.Header.Set("Www-Authenticate", chosen.String())
	return chosen, nil
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
	if s.isRegistry(u) {
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

// checkTokenRedirect refuses a redirect of a token server to any other: what is sent to it is a secret. It is judged here and
// not in checkRedirect, so that it has our words: oras-go refuses some before.
func (s *session) checkTokenRedirect(resp *http.Response) error {
	to, err := resp.Location()
	if err != nil || origin(to) == origin(resp.Request.URL) {
		return nil
	}
	return s.notAllowed("has a token server that redirects to", to, "")
}

// checkRedirect bounds redirects; where they lead is judged by allow and checkTokenRedirect. What is no read is not repeated
// elsewhere.
func (s *session) checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("%s redirects more than %d times", s.quotedName(), maxRedirects)}
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return s.notAllowed("redirects a request that is no read to", req.URL, "")
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
