package oras

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
)

const (
	// maxRetryWait bounds the wait before the one retry: a webhook that waits two seconds must hear of the result.
	maxRetryWait = 250 * time.Millisecond
	minRetryWait = 50 * time.Millisecond
	// Retries are a tenth of the requests in the long run, so that a registry in an outage does not get twice the load,
	// after a few that are always there.
	retryShare   = 0.1
	retryReserve = 5
	// maxSends bounds how often one request is sent because its registry limits them: one in a hundred is refused while
	// the rate is held, and several programs that share a limit refuse one another's.
	maxSends = 8
	// headStart is how many requests of an image go before those of later ones: a manifest, its referrers, two pieces of
	// evidence with two requests each, a token, and one more.
	headStart = 8
)

// retryBudget counts what may be retried at one registry. The zero value has its reserve.
type retryBudget struct {
	mu   sync.Mutex
	owed float64 // retries made, less those earned; at most retryReserve, never below 0
}

func (b *retryBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed = max(0, b.owed-retryShare)
}

func (b *retryBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owed+1 > retryReserve {
		return false
	}
	b.owed++
	return true
}

// sender is the session as the transport of an http.Client: it sends each request when its turn has come, and again where
// that is worth it.
type sender session

// RoundTrip is where every request passes, whoever built it: it refuses what may not be sent. What is answered to the last
// attempt is the answer.
func (s *sender) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req.Context())
	if err := (*session)(s).allow(req.URL, purposeOf(req)); err != nil {
		closeBody(req)
		return nil, err
	}
	if resp, err := (*session)(s).local(req, c); resp != nil || err != nil {
		return resp, err
	}
	if err := (*session)(s).gate(req.URL).shut(); err != nil {
		closeBody(req)
		return nil, err // without waiting for a turn
	}
	pace := s.pacer(req.URL)
	place := turn{number: s.number()}
	for sends := 1; ; sends++ {
		if err := s.await(req, c, pace, &place); err != nil {
			closeBody(req)
			return nil, err
		}
		resp, err := (*session)(s).exchange(req, c)
		if errors.Is(err, errBreakerOpen) {
			return nil, err
		}
		if sends == 1 {
			s.budget.earn()
		}
		if !s.again(req.Context(), sends, pace, &place, resp, err) || !rewind(req) {
			return resp, err
		}
		if resp != nil {
			drain(resp)
		}
	}
}

// number is the place of the session's next request among those that wait for a turn: an image that was begun goes before one
// that came later, so that some are verified while others wait, and not all of them at the end. What a registry attaches to
// an image in masses has no such right.
func (s *sender) number() uint64 {
	if s.asked.Add(1) > headStart {
		return s.pool.arrivals.Add(1)
	}
	return s.arrival
}

// await waits for the request's turn. The time is not the request's own.
func (s *sender) await(req *http.Request, c *call, pace *pacer, place *turn) error {
	waited := false
	err := pace.await(req.Context(), place, func() {
		waited = true
		ratify.Progress(req.Context(), "waiting for its turn at the registry, which limits requests")
		c.pause()
	})
	if waited {
		c.resume()
		ratify.Progress(req.Context(), "reading from the registry, which limits requests")
	}
	if errors.Is(err, errTurnTooLate) || errors.Is(err, errTooManyWait) {
		return &ratify.Error{Code: ratify.RateLimited, Message: (*session)(s).name(req.URL) + " limits requests, and " + err.Error(), Err: err}
	}
	return err
}

// again says whether to send a request once more, and waits for the time until then that is not the pacer's.
func (s *sender) again(ctx context.Context, sends int, pace *pacer, place *turn, resp *http.Response, err error) bool {
	if err == nil && isLimit(resp) {
		return s.againAfterLimit(ctx, sends, pace, place, resp)
	}
	if err == nil && resp.StatusCode < http.StatusInternalServerError {
		pace.accept(place)
		return false
	}
	// Once, briefly, for what is likely to pass: a connection cut before its answer, and the statuses by which a gateway
	// asks to come again.
	wait := minRetryWait + rand.N(minRetryWait) //nolint:gosec // spreads retries, hides nothing
	if sends > 1 || !passes(resp, err) || err == nil && saidWait(resp) > 0 || !s.budget.spend() {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// againAfterLimit tells the pacer of a refusal. A registry that says when to come again is taken at its word if the work
// lasts until then. One that does not say is asked again while it accepts some. Else it is asked once more: by those who
// were there before the limit was known, for refusals are quicker than what was accepted beside them, and by others at the
// cost of a retry.
func (s *sender) againAfterLimit(ctx context.Context, sends int, pace *pacer, place *turn, resp *http.Response) bool {
	said := saidWait(resp)
	if said > maxSaid {
		return false
	}
	progress := pace.refuse(place, said)
	if end, ok := ctx.Deadline(); ok && time.Until(end) < said || sends == maxSends {
		return false
	}
	return said > 0 || progress || sends == 1 && (place.epoch == 0 || s.budget.spend())
}

// isLimit tells a refusal for the number of requests from other answers: 503 is one where it comes with a time (RFC 6585
// §4, RFC 9110 §15.6.4).
func isLimit(resp *http.Response) bool {
	return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable && saidWait(resp) > 0
}

func passes(resp *http.Response, err error) bool {
	if err != nil {
		return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// saidWait is how long an answer asks to wait, in seconds or by a date (RFC 9110 §10.2.3); 0 if it does not say. What
// cannot be read is too long.
func saidWait(resp *http.Response) time.Duration {
	text := resp.Header.Get("Retry-After")
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return maxSaid + 1
}

// rewind makes a request's body ready to be sent again.
func rewind(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	if req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	if err != nil {
		return false
	}
	req.Body = body
	return true
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// drain reads what is left of an answer that is not used, so that its connection can be used again.
func drain(resp *http.Response) {
	content.Discard(resp.Body, maxErrorBytes)
	resp.Body.Close()
}

// pacer is the one for a URL: the registry, its token server and its redirects have limits of their own.
func (s *sender) pacer(u *url.URL) *pacer {
	if (*session)(s).isRegistry(u) {
		return s.pace
	}
	return s.pool.pacer(s.key + origin(u))
}
