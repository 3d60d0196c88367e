package oras

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/listhash"
)

const (
	// maxTokens and maxTokenCacheBytes bound the kept tokens; there is one for each repository and credential in use.
	maxTokens          = 4096
	maxTokenCacheBytes = 16 << 20
	// maxTokenBytes is the limit on a header that servers have in common; a longer token could not be used.
	maxTokenBytes = 16 << 10
	// defaultTokenLife is that of a token whose server does not say how long it lives (distribution specification, token
	// authentication, "expires_in").
	defaultTokenLife = time.Minute
	// maxTokenLife ends tokens that live without end, and those of the configuration, of which nobody says when they end.
	// One that has ended earlier costs a 401 and a new one.
	maxTokenLife = time.Hour
	// tokenReserve is the share of its life in which a token is not used any more: requests are under way, and clocks
	// differ in how fast they go. What is in use is renewed when renewShare of its life is left.
	tokenReserve = 10
	renewShare   = 4
	// challengeTTL ends what is remembered of registries that nobody asks any more; one that is asked corrects it itself.
	challengeTTL = 24 * time.Hour
	// doubtAfter is how often a registry is asked for its challenge because it refused, or did not know, what was asked with a
	// token by the remembered one: many images are not there, and nobody changes a token server twice a minute.
	doubtAfter = time.Minute
	// maxTokenTime bounds the fetch of a token with its waits: all who wait for it have ended by then.
	maxTokenTime = time.Minute
	// maxRenewals bounds the renewals under way at the same time. What is not renewed in time is fetched by who needs it.
	maxRenewals = 16
)

// A token is what a registry accepts. It is shared.
type token struct {
	text string
	by   string // the challenge that led to it, if it can be remembered
	ends time.Time
	// renewAt is when to fetch the next one, in nanoseconds since 1970.
	renewAt atomic.Int64
}

func newToken(text string, life time.Duration, from time.Time) *token {
	t := &token{text: text, ends: from.Add(life - life/tokenReserve)}
	t.renewAt.Store(from.Add(life - life/renewShare).UnixNano())
	return t
}

// due says whether to renew the token now. It says so once, and again when half of the rest of its life has gone.
func (t *token) due(now time.Time) bool {
	at := t.renewAt.Load()
	return now.UnixNano() >= at && t.renewAt.CompareAndSwap(at, now.Add(t.ends.Sub(now)/2).UnixNano())
}

// tokenCache is the session as oras-go's cache of tokens. Keys hold the credential, which oras-go's own leaves out.
type tokenCache session

// GetScheme returns how the registry wanted to be authenticated to the last time.
func (c *tokenCache) GetScheme(ctx context.Context, registry string) (auth.Scheme, error) {
	if scheme, ok := c.pool.schemes.Get(c.key + registry); ok && !callOf(ctx).doubting {
		return scheme, nil
	}
	return auth.SchemeUnknown, errdef.ErrNotFound
}

// GetToken returns the kept token for the scopes in key, and begins to renew one that ends soon.
func (c *tokenCache) GetToken(ctx context.Context, registry string, scheme auth.Scheme, key string) (string, error) {
	t, ok := c.pool.tokens.Get(c.tokenKey(registry, scheme, key))
	asker := callOf(ctx)
	if !ok || asker.renewing || asker.doubting {
		return "", errdef.ErrNotFound
	}
	asker.by = t.by
	if now := time.Now(); scheme == auth.SchemeBearer && t.due(now) && c.pool.renewals.TryAcquire(1) {
		go func() {
			defer c.pool.renewals.Release(1)
			(*session)(c).renew()
		}()
	}
	return t.text, nil
}

func (c *tokenCache) tokenKey(registry string, scheme auth.Scheme, key string) string {
	return listhash.Sum(c.key, registry, scheme.String(), key)
}

// Set fetches a token, once for all who ask for the same at the same time, and keeps it. The fetch is under no caller's
// cancellation, and a call of its own.
func (c *tokenCache) Set(ctx context.Context, registry string, scheme auth.Scheme, key string, fetch func(context.Context) (string, error)) (string, error) {
	id := c.tokenKey(registry, scheme, key)
	asker := callOf(ctx)
	renewing, spent, by := asker.renewing || asker.doubting, asker.spent, asker.known()
	done := c.pool.flights.DoChan(id, func() (any, error) {
		if t, ok := c.pool.tokens.Get(id); ok && !renewing && t.text != spent {
			return t.text, nil // since it was looked for, another fetch has ended
		}
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxTokenTime)
		defer cancel()
		fetching := c.pool.newCall(shared, forToken)
		defer fetching.end()
		fetching.life = maxTokenLife
		from := time.Now()
		text, err := fetch(fetching)
		if err != nil {
			return "", (*session)(c).tokenFailure(scheme, fetching.cause(err))
		}
		if len(text) > maxTokenBytes || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return "", (*session)(c).badToken("with a token that no header can hold")
		}
		t := newToken(text, fetching.life, from)
		t.by = by
		c.pool.tokens.Set(id, t, time.Until(t.ends))
		c.pool.schemes.Set(c.key+registry, scheme, maxTokenLife)
		return text, nil
	})
	asker.pause() // the fetch has a time of its own
	defer asker.resume()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case result := <-done:
		if result.Err != nil {
			asker.vain = true
			return "", result.Err
		}
		(*session)(c).remember(asker)
		return result.Val.(string), nil
	}
}

// tokenFailure tells what is wrong with what a token server has answered from what went wrong on the way, which has words
// of its own.
func (s *session) tokenFailure(scheme auth.Scheme, err error) error {
	var known *ratify.Error
	var request *url.Error
	var status *errcode.ErrorResponse
	if scheme != auth.SchemeBearer || errors.As(err, &known) || errors.As(err, &request) || errors.As(err, &status) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.badToken("without a token that can be used")
}

// remember keeps the challenge that has led to a token: other repositories of the registry will be challenged alike.
func (s *session) remember(c *call) {
	known := c.known()
	c.by = known
	if known == "" {
		s.pool.challenges.Delete(s.registryKey)
		return
	}
	s.pool.challenges.Set(s.registryKey, known, challengeTTL)
}

// known is the challenge by which a token is fetched now; empty where it cannot be remembered.
func (c *call) known() string {
	if c.refused {
		return c.asked
	}
	return c.answered
}

// renew fetches a token again before it ends, so that nobody waits for it and no request is wasted on one that has ended.
func (s *session) renew() {
	c := s.pool.newCall(context.Background(), forRegistry)
	defer c.end()
	c.scopes, c.renewing = s.scopes, true
	// The request is answered without being sent: see local.
	req, err := http.NewRequestWithContext(c, http.MethodGet, s.origin+"/v2/", nil)
	if err != nil {
		return
	}
	if resp, err := s.auth.Do(req); err == nil {
		resp.Body.Close()
	}
}

var (
	errNoChallenge   = errors.New("how the registry wants to be authenticated to is not known")
	errSameChallenge = errors.New("the registry has not changed its challenge")
)

// local answers a request to the registry in its place where the answer is known: with the challenge that it has for
// requests without a token, so that the first one to a repository is not spent on hearing it again. The challenge goes
// through the same checks as one that has just come. The answer is nil where the registry is to be asked.
func (s *session) local(req *http.Request, c *call) (*http.Response, error) {
	if c.purpose != forRegistry || c.fresh || purposeOf(req) != forRegistry {
		return nil, nil
	}
	resp := &http.Response{ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: req}
	if req.Header.Get("Authorization") != "" {
		if !c.renewing {
			return nil, nil
		}
		resp.StatusCode = http.StatusOK
		return resp, nil
	}
	known, ok := s.pool.challenges.Get(s.registryKey)
	switch {
	case !ok && c.renewing:
		return nil, errNoChallenge
	case !ok:
		return nil, nil
	}
	c.answered, c.vain = known, true
	resp.StatusCode = http.StatusUnauthorized
	resp.Header.Set("Www-Authenticate", known)
	if _, err := s.reviewChallenge(resp, false); err != nil {
		return nil, err
	}
	c.vain = false
	return resp, nil
}

// hear takes note of the registry's own challenge. A call that asks for it because the remembered one was of no avail has
// its answer already where the two are the same.
func (s *session) hear(c *call, chosen challenge, spent string) error {
	c.refused, c.asked, c.spent = true, chosen.general(s.path), spent
	if c.fresh && c.asked == c.answered {
		return errSameChallenge
	}
	return nil
}

// ask sends a request and authenticates it. Where the remembered challenge was of no avail, and may be out of date, the
// registry is asked for its own, once: it may have another token server now, or none.
func (s *session) ask(c *call, url, accept string) (*http.Response, error) {
	resp, err := s.do(c, url, accept)
	if c.Err() != nil || !s.outdated(c, resp, err) {
		return resp, err
	}
	if err == nil {
		drain(resp)
		err = &statusError{status: resp.StatusCode}
	}
	c.fresh, c.refused, c.asked = true, false, ""
	again, againErr := s.do(c, url, accept)
	switch {
	case errors.Is(againErr, errSameChallenge):
		return nil, err
	case againErr == nil && !c.refused && (!c.doubting || again.StatusCode == http.StatusOK):
		s.pool.challenges.Delete(s.registryKey) // it asks for none
	}
	return again, againErr
}

// outdated tells whether the remembered challenge may be the reason of an answer. A token server that was replaced may still
// give tokens, which the registry takes for those of somebody who may see nothing.
func (s *session) outdated(c *call, resp *http.Response, err error) bool {
	switch {
	case err != nil:
		return c.answered != "" && c.vain
	case resp.StatusCode == http.StatusUnauthorized:
		return c.answered != "" && c.asked != c.answered
	case resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusNotFound:
		return false
	}
	known, ok := s.pool.challenges.Get(s.registryKey)
	if !ok || c.by == "" {
		return false
	}
	if _, doubted := s.pool.doubted.Get(s.registryKey); doubted && c.by == known {
		return false
	}
	s.pool.doubted.Set(s.registryKey, true, doubtAfter)
	c.answered, c.doubting = c.by, true
	return true
}

// readToken reads a token server's answer whole, and from it how long its token lives; the answer stays as it was.
func (s *session) readToken(resp *http.Response, c *call) error {
	data, err := content.Read(resp.Body, maxTokenAnswerBytes)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(data))
	switch {
	case errors.Is(err, content.ErrTooLarge):
		return s.badToken(fmt.Sprintf("that is longer than %d bytes", maxTokenAnswerBytes))
	case err != nil:
		return &bodyError{err: err, from: s.tokenServer()}
	case !json.Valid(data):
		return s.badToken("that is malformed")
	}
	var said struct {
		ExpiresIn float64 `json:"expires_in"`
	}
	c.life = defaultTokenLife
	if json.Unmarshal(data, &said) == nil && said.ExpiresIn > 0 {
		c.life = time.Duration(min(said.ExpiresIn, maxTokenLife.Seconds()) * float64(time.Second))
	}
	return nil
}

func (s *session) tokenServer() string { return "the token server of " + s.quotedName() }

func (s *session) badToken(what string) error {
	return &ratify.Error{Code: ratify.RegistryInvalid, Message: s.tokenServer() + " gave an answer " + what}
}
