package oras

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// A call is one question to a registry, or to its token server, with all requests that it takes: the context of each, and
// what they have to know of one another. It is used by one goroutine.
type call struct {
	context.Context
	cancel context.CancelCauseFunc
	scopes context.Context // holds the scopes that a token for it must have

	timer *time.Timer // ends it after left
	left  time.Duration
	since time.Time

	purpose purpose // forRegistry or forToken

	// Of a call to the registry:
	fresh    bool   // the registry itself is asked how it wants to be authenticated to
	renewing bool   // only a token is wanted; nothing is sent to the registry
	answered string // the remembered challenge that was given in place of the registry's, if one was
	asked    string // the challenge of the registry itself, if there was one that can be remembered
	refused  bool   // the registry itself answered 401
	spent    string // the token that it refused so, if one was sent
	vain     bool   // there was no token by the challenge
	by       string // the challenge that led to the token in use, if it can be remembered
	doubting bool   // the token that is kept may be of another's making, and is not used

	// Of a call to the token server: how long the token lives, by its answer.
	life time.Duration
}

type callKey struct{}

// newCall begins a call that ends with its parent, or after the time that requests may take, the waits for their turn not
// counted.
func (p *Pool) newCall(parent context.Context, why purpose) *call {
	c := &call{purpose: why, left: p.requestTimeout, since: time.Now()}
	c.Context, c.cancel = context.WithCancelCause(parent)
	c.timer = time.AfterFunc(c.left, func() { c.cancel(context.DeadlineExceeded) })
	return c
}

// Value finds the call itself, and the scopes where oras-go looks for them.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	if c.scopes != nil {
		if v := c.scopes.Value(key); v != nil {
			return v
		}
	}
	return c.Context.Value(key)
}

func (c *call) end() {
	c.timer.Stop()
	c.cancel(nil)
}

// pause stops the call's time, resume lets it go on.
func (c *call) pause() {
	c.timer.Stop()
	c.left -= time.Since(c.since)
}

func (c *call) resume() {
	c.since = time.Now()
	c.timer.Reset(max(0, c.left))
}

// cause is the error of a request: where the call's time has ended, this is what ended it.
func (c *call) cause(err error) error {
	if c.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	end := context.Cause(c.Context)
	var request *url.Error
	if errors.As(err, &request) {
		return &url.Error{Op: request.Op, URL: request.URL, Err: end}
	}
	return end
}

// callOf returns the call that a request is part of.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// scopesFor makes a context that holds the scope of reading a repository, for oras-go.
func scopesFor(hostport, path string) context.Context {
	return auth.WithScopesForHost(context.Background(), hostport, auth.ScopeRepository(path, auth.ActionPull))
}

// purposeOf tells why a request is sent: http.Client marks those of redirects.
func purposeOf(req *http.Request) purpose {
	if callOf(req.Context()).purpose == forToken {
		return forToken
	}
	if req.Response != nil {
		return byRedirect
	}
	return forRegistry
}
