package oras

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/netguard"
)

const (
	// tripAfter failures in a row, over at least minOutage, make a server suspect. Fewer are what one image's requests can
	// meet by chance, and a server that is started again is away for less: the retries of requests take up to 100 ms.
	tripAfter = 5
	minOutage = 500 * time.Millisecond
	// minPause and maxPause, of the pacer, are about limits; these are the pauses between two probes of a server that is
	// away: they double from the first to the last, so that one that was away for ten minutes is used again within two of
	// the longest, a real request and one for its own address, whatever the failing requests of others do.
	minProbePause, maxProbePause = time.Second, 8 * time.Second
	// probeWait is how long a request waits for a probe that is under way: the requests of one image are sent at the same
	// time, and the first is no more than the probe for the others. A server in health answers one within it.
	probeWait = 500 * time.Millisecond
	// signTimeout bounds the question for a sign of life: a connection (dialTimeout of netguard, tlsTimeout), and two
	// seconds for an answer that needs no storage. Where it ends before there is a connection, connections are short here.
	signTimeout = 8 * time.Second
	// forgetOpenAfter ends an open breaker of a server for which nobody asks any more.
	forgetOpenAfter = time.Minute
	// maxBreakers bounds the servers that have failed since they last answered; the hosts of references are anybody's choice.
	maxBreakers = 4096
	// versionPath is what a server is asked for a sign of life: the one address of a registry that is no repository's
	// (distribution specification, "Determining Support").
	versionPath = "/v2/"
)

// errBreakerOpen is the cause of requests that are refused for a server that is away.
var errBreakerOpen = errors.New("the breaker of the server is open")

// A BreakerChange tells that requests for a server are refused from now on, or no more.
type BreakerChange struct {
	// HostClass is the Host pattern of the registry's entry, or "other", fit for a metric's label.
	HostClass string
	// Host is the server's, from outside and quoted.
	Host string
	Open bool
	// Since is when its first request failed, and Cause what the last one met, in our words.
	Since time.Time
	Cause string
	// OpenInClass is how many servers of the class have an open breaker now.
	OpenInClass int
}

// breakers keep requests from servers that answer nothing, so that work fails at once instead of when its time is up, and
// a server that comes back is not met by all that waited. They are by settings and origin and not by credential: a tenant
// has no network of its own. Only servers that have failed since their last answer have one.
//
// Whoever owns a repository, or attaches something to an image, can make requests for it fail, where the registry fetches
// it from a server of his or stumbles over it. So failures only make a server suspect, and any answer below 500 to anybody
// clears it. What opens a breaker is that the server then gives no sign of life at an address that is nobody's repository.
type breakers struct {
	mu    sync.RWMutex
	byKey map[string]*breaker
	open  map[string]int // by class
}

// breaker is one server's; the lock of breakers guards it.
type breaker struct {
	class, host   string
	failures      int
	since         time.Time // the first of these failures
	touched       time.Time // the last
	words, remedy string    // of the last

	asking bool      // for a sign of life, because it is suspect
	askAt  time.Time // not before
	pause  time.Duration

	open   bool
	next   time.Time     // probe
	probe  chan struct{} // closed when the probe under way has ended, else nil
	probes int
	forget *time.Timer
}

func newBreakers() *breakers {
	return &breakers{byKey: map[string]*breaker{}, open: map[string]int{}}
}

// A gate is where the requests of a session for one server pass its breaker.
type gate struct {
	session *session
	url     *url.URL
	key     string
}

func (s *session) gate(u *url.URL) gate {
	if s.isRegistry(u) {
		return gate{s, u, s.registryKey}
	}
	return gate{s, u, s.entry.client.key + origin(u)}
}

// passage is what came of asking to pass.
type passage int

const (
	passed  passage = iota
	asProbe         // the request is the probe
	forSign         // the server is to be asked for a sign of life, and to be waited for
	wait            // for the probe under way
	refused
)

// shut refuses a request that could not pass now, and starts nothing.
func (g gate) shut() error {
	all := g.session.pool.breakers
	all.mu.RLock()
	defer all.mu.RUnlock()
	if b := all.byKey[g.key]; b != nil && b.open && b.probe == nil && time.Now().Before(b.next) {
		return g.refusal(b)
	}
	return nil
}

// enter lets a request pass or refuses it. A probe that it is must be handed to leave. The error is a *ratify.Error, or the
// context's.
func (g gate) enter(ctx context.Context) (probe chan struct{}, err error) {
	for waited := false; ; waited = true {
		what, probe, refusal := g.step(waited)
		switch what {
		case passed:
			return nil, nil
		case asProbe:
			return probe, nil
		case refused:
			return nil, refusal
		case forSign:
			go g.askForSign(probe)
		case wait:
		}
		timer := time.NewTimer(probeWait)
		select {
		case <-probe:
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// step looks at the breaker once. Of two probes, one is whatever request comes, since a server may serve it and nothing at
// versionPath; the other is for a sign of life, since that request may be one that fails always.
func (g gate) step(waited bool) (what passage, probe chan struct{}, refusal error) {
	all := g.session.pool.breakers
	all.mu.RLock()
	b := all.byKey[g.key]
	open := b != nil && b.open
	all.mu.RUnlock()
	if !open {
		return passed, nil, nil
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if b = all.byKey[g.key]; b == nil || !b.open {
		return passed, nil, nil
	}
	if b.probe == nil && !time.Now().Before(b.next) {
		b.probe = make(chan struct{})
		b.probes++
		if b.probes%2 == 1 {
			return asProbe, b.probe, nil
		}
		return forSign, b.probe, nil
	}
	if b.probe != nil && !waited {
		return wait, b.probe, nil
	}
	return refused, nil, g.refusal(b)
}

// refusal says why a request is not sent.
func (g gate) refusal(b *breaker) error {
	next := "the next request is under way"
	if b.probe == nil {
		next = "the next request goes out at " + b.next.UTC().Format(time.RFC3339)
	}
	return &ratify.Error{
		Code:    ratify.RegistryUnavailable,
		Message: fmt.Sprintf("%s %s; it has not answered since %s, its breaker is open, and %s", g.session.name(g.url), b.words, b.since.UTC().Format(time.RFC3339), next),
		Remedy:  b.remedy,
		Err:     errBreakerOpen,
	}
}

// outcome is what a request tells about its server.
type outcome int

const (
	gotNothing outcome = iota
	gotAnswer
	gotFailure
)

// outcomeOf judges what a request met. The end of its context is the caller's, or, where connections are short, nobody's;
// what this process refuses or lacks is not the server's either.
func outcomeOf(ctx context.Context, resp *http.Response, err error) (o outcome, words, remedy string) {
	if err == nil {
		if resp.StatusCode < http.StatusInternalServerError || isLimit(resp) {
			return gotAnswer, "", ""
		}
		return gotFailure, fmt.Sprintf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)), ""
	}
	var forbidden *netguard.ForbiddenError
	if ctx.Err() != nil || errors.As(err, &forbidden) || isLocal(err) {
		return gotNothing, "", ""
	}
	words, remedy = connectionWords(err)
	if words == "" {
		words = "could not be read from"
	}
	return gotFailure, words, remedy
}

// isLocal tells that this machine is short of something.
func isLocal(err error) bool {
	for _, short := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
}

// leave takes what a request that passed has met.
func (g gate) leave(probe chan struct{}, o outcome, words, remedy string) {
	all := g.session.pool.breakers
	if o == gotAnswer && probe == nil && !all.has(g.key) {
		return
	}
	all.mu.Lock()
	b, now := all.byKey[g.key], time.Now()
	if b == nil && o == gotFailure {
		b = g.begin(all, now)
	}
	ask := false
	var change *BreakerChange
	switch {
	case b == nil:
	case o == gotAnswer:
		change = all.remove(g.key, b)
	default:
		if o == gotFailure {
			b.fail(now, words, remedy)
			ask = b.suspect(now)
		}
		if probe != nil && b.probe == probe {
			g.postpone(all, b, now, o == gotFailure)
		}
	}
	all.mu.Unlock()
	g.tell(change)
	if ask {
		go g.askWhetherAlive(b)
	}
}

func (all *breakers) has(key string) bool {
	all.mu.RLock()
	defer all.mu.RUnlock()
	return all.byKey[key] != nil
}

// begin makes the breaker of a server at its first failure. Where there are too many, the one goes that nobody has
// touched for longest.
func (g gate) begin(all *breakers, now time.Time) *breaker {
	if len(all.byKey) >= maxBreakers {
		var oldest string
		for key, b := range all.byKey {
			if oldest == "" || b.touched.Before(all.byKey[oldest].touched) {
				oldest = key
			}
		}
		if change := all.remove(oldest, all.byKey[oldest]); change != nil {
			go g.tell(change) // the lock is held
		}
	}
	b := &breaker{class: g.session.entry.class, host: ratify.Quote(g.url.Host), since: now, pause: minProbePause}
	all.byKey[g.key] = b
	return b
}

func (b *breaker) fail(now time.Time, words, remedy string) {
	if b.failures == 0 {
		b.since = now
	}
	b.failures++
	b.touched, b.words, b.remedy = now, words, remedy
}

// suspect says whether to ask for a sign of life now.
func (b *breaker) suspect(now time.Time) bool {
	if b.open || b.asking || b.failures < tripAfter || now.Sub(b.since) < minOutage || now.Before(b.askAt) {
		return false
	}
	b.asking = true
	return true
}

// remove ends a breaker, and with it the probe.
func (all *breakers) remove(key string, b *breaker) *BreakerChange {
	delete(all.byKey, key)
	b.endProbe()
	if !b.open {
		return nil
	}
	b.open = false
	b.forget.Stop()
	all.open[b.class]--
	return all.change(b)
}

func (b *breaker) endProbe() {
	if b.probe != nil {
		close(b.probe)
		b.probe = nil
	}
}

func (all *breakers) change(b *breaker) *BreakerChange {
	return &BreakerChange{HostClass: b.class, Host: b.host, Open: b.open, Since: b.since, Cause: b.words, OpenInClass: all.open[b.class]}
}

func (g gate) tell(change *BreakerChange) {
	if change != nil {
		g.session.tellBreaker(*change)
	}
}

// postpone ends a probe that was in vain, and sets the time of the next one.
func (g gate) postpone(all *breakers, b *breaker, now time.Time, failed bool) {
	b.endProbe()
	if failed {
		b.pause = min(2*b.pause, maxProbePause)
	}
	g.schedule(all, b, now)
}

// schedule sets the time of the next probe, not the same for all replicas, and ends a breaker that nobody probes then.
func (g gate) schedule(all *breakers, b *breaker, now time.Time) {
	b.next = now.Add(b.pause*3/4 + rand.N(b.pause/2)) //nolint:gosec // spreads probes, hides nothing
	wait := b.next.Sub(now) + forgetOpenAfter
	if b.forget != nil {
		b.forget.Reset(wait)
		return
	}
	b.forget = time.AfterFunc(wait, func() {
		all.mu.Lock()
		var change *BreakerChange
		if all.byKey[g.key] == b && b.probe == nil {
			change = all.remove(g.key, b)
		}
		all.mu.Unlock()
		g.tell(change)
	})
}

// askWhetherAlive opens the breaker of a suspect that gives no sign of life. One that does is not asked again for a while:
// the failures are of what it was asked for, and go on.
func (g gate) askWhetherAlive(b *breaker) {
	o, words, remedy := g.signOfLife()
	all := g.session.pool.breakers
	all.mu.Lock()
	var change *BreakerChange
	if now := time.Now(); all.byKey[g.key] == b { // else somebody had an answer meanwhile
		b.asking = false
		if o == gotFailure {
			b.fail(now, words, remedy)
			b.open, b.pause = true, minProbePause
			all.open[b.class]++
			g.schedule(all, b, now)
			change = all.change(b)
		} else {
			b.failures = 0
			b.askAt = now.Add(b.pause)
			b.pause = min(2*b.pause, forgetOpenAfter)
		}
	}
	all.mu.Unlock()
	g.tell(change)
}

// askForSign is a probe.
func (g gate) askForSign(probe chan struct{}) {
	o, words, remedy := g.signOfLife()
	g.leave(probe, o, words, remedy)
}

// signOfLife asks a server for what is no repository's, with no credential and under no caller's context.
func (g gate) signOfLife() (o outcome, words, remedy string) {
	ctx, cancel := context.WithTimeout(context.Background(), signTimeout)
	defer cancel()
	connected := false
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }}
	address := url.URL{Scheme: g.url.Scheme, Host: g.url.Host, Path: versionPath}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, address.String(), nil)
	if err != nil {
		return gotNothing, "", ""
	}
	req.Header = http.Header{"User-Agent": {userAgent}, "Accept-Encoding": {"identity"}}
	resp, err := g.session.entry.client.RoundTrip(req)
	if err != nil {
		g.session.report(g.session.entry.class, 0)
		if connected && ctx.Err() != nil {
			return gotFailure, "did not answer in time", ""
		}
		return outcomeOf(ctx, nil, err)
	}
	defer drain(resp)
	g.session.report(g.session.entry.class, resp.StatusCode)
	return outcomeOf(ctx, resp, nil)
}
