package oras

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/blobs"
	"github.com/ratify-provider/ratify/internal/cache"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/inflight"
	"github.com/ratify-provider/ratify/internal/pullsecret"
)

const (
	// maxInFlightBytes bounds what is being read, and what was read until whoever wanted it is done with it, in the whole
	// process: three documents of the largest size of one registry, or a thousand signatures, and a quarter of the memory
	// that the process may use.
	maxInFlightBytes = 64 << 20
	// decodedFactor is how many times their size signatures and manifests take with all that is decoded of them: base64 and
	// JSON once each, into texts, and what a library copies. Documents are read in place.
	decodedFactor = 4
	// inFlightWait is how long a read waits for others to end. It is bounded apart from the request's own deadline
	// because readers that each hold a part and wait for the rest would wait for one another.
	inFlightWait = 2 * time.Second

	// maxClients bounds the kept transports: one for each registry entry with network settings of its own, and as many
	// again for a configuration that is being replaced.
	maxClients = 512
	// clientTTL is when the transport of an entry is built anew at the next configuration; it has no state that ages.
	clientTTL = 30 * 24 * time.Hour

	// refusedFor is how long a refused credential is not tried again: long enough to spare it from being locked out by
	// a burst of pods, short enough to be forgotten by the one who mended it.
	refusedFor = 5 * time.Second
	// capabilityTTL is how long a registry that had no referrers API is asked for the fallback tag first; it may learn the
	// API at its next upgrade, and a list that it then keeps up no longer must not be read much longer.
	capabilityTTL = 5 * time.Minute
	// maxRemembered and maxRememberedBytes bound what is remembered by host and repository, which are anybody's choice.
	maxRemembered      = 4096
	maxRememberedBytes = 8 << 20
)

// A Pool holds what outlives a configuration: connections, tokens, and what was learned about registries. Everything in
// it is kept by a fingerprint of the settings that lead to it, the bytes of credentials and certificates included, so
// that a changed credential or CA begins anew; but for content, which is the same by whichever way it came. It is bounded, and safe for concurrent use by many stores.
type Pool struct {
	clients *cache.Cache[*client]
	tokens  *cache.Cache[*token]
	schemes *cache.Cache[auth.Scheme]
	refused *cache.Cache[*ratify.Error]
	// challenges are how registries ask for a token, by settings and origin.
	challenges *cache.Cache[string]
	doubted    *cache.Cache[bool] // for a while
	renewals   *semaphore.Weighted
	// pacers are by registry, token server or redirect host, and by credential.
	pacers *cache.Cache[*pacer]
	// arrivals counts sessions: see sender.number.
	arrivals atomic.Uint64
	making   sync.Mutex // of a new one of them
	// tagOnly are the repositories that had no referrers API, where the fallback tag is asked for first.
	tagOnly *cache.Cache[bool]
	// budgets are by registry: one in an outage must not use up the retries of others.
	budgets *cache.Cache[*retryBudget]
	// breakers are by server: the registry, its token server, its redirects.
	breakers *breakers
	// answers are what programs have said, and apiServers the clients that read pull secrets.
	answers    *cache.Cache[answered]
	apiServers *cache.Cache[*pullsecret.Client]
	// content is what was read under a digest: see access.known.
	content  *blobs.Cache
	flights  singleflight.Group
	bodies   *inflight.Budget
	programs *semaphore.Weighted

	// The periods of the constants above, shorter in tests.
	refusedFor, capabilityTTL, requestTimeout time.Duration
}

// NewPool returns an empty pool that keeps content in memory; a process needs one.
func NewPool() *Pool { return NewPoolWith(blobs.Options{Memory: blobs.DefaultMemory}) }

// NewPoolWith returns a pool that keeps content as the options say, but for InFlight, which is the pool's own. One with a
// directory must be closed.
func NewPoolWith(kept blobs.Options) *Pool {
	bodies := inflight.New(maxInFlightBytes)
	kept.InFlight = bodies
	return &Pool{
		content:        blobs.New(kept),
		clients:        cache.New(maxClients, maxRememberedBytes, func(*client) int64 { return 4096 }),
		tokens:         cache.New(maxTokens, maxTokenCacheBytes, func(t *token) int64 { return int64(len(t.text)) }),
		challenges:     cache.New(maxRemembered, maxRememberedBytes, func(s string) int64 { return int64(len(s)) }),
		doubted:        cache.New(maxRemembered, maxRememberedBytes, func(bool) int64 { return 1 }),
		renewals:       semaphore.NewWeighted(maxRenewals),
		pacers:         cache.New(maxRemembered, maxRememberedBytes, func(*pacer) int64 { return 512 }),
		schemes:        cache.New(maxRemembered, maxRememberedBytes, func(auth.Scheme) int64 { return 1 }),
		refused:        cache.New(maxRemembered, maxRememberedBytes, func(e *ratify.Error) int64 { return int64(len(e.Message) + len(e.Remedy)) }),
		tagOnly:        cache.New(maxRemembered, maxRememberedBytes, func(bool) int64 { return 1 }),
		budgets:        cache.New(maxRemembered, maxRememberedBytes, func(*retryBudget) int64 { return 64 }),
		breakers:       newBreakers(),
		answers:        cache.New(maxAnswers, maxAnswerBytes, func(a answered) int64 { return a.ring.Bytes() }),
		apiServers:     cache.New(maxClients, maxRememberedBytes, func(*pullsecret.Client) int64 { return 4096 }),
		bodies:         bodies,
		programs:       semaphore.NewWeighted(maxPrograms),
		refusedFor:     refusedFor,
		capabilityTTL:  capabilityTTL,
		requestTimeout: requestTimeout,
	}
}

// Close ends what works in the background. The pool's stores must not be used any more.
func (p *Pool) Close() { p.content.Close() }

// ContentStats tells how the kept content fares.
func (p *Pool) ContentStats() blobs.Stats { return p.content.Stats() }

func (p *Pool) client(s clientSettings) (*client, error) {
	key := s.fingerprint()
	if c, ok := p.clients.Get(key); ok {
		return c, nil
	}
	c, err := newClient(s)
	if err != nil {
		return nil, err
	}
	c.key = key
	p.clients.Set(key, c, clientTTL)
	return c, nil
}

// pacer returns what holds back the requests under a key: one for all, or each would have to learn the limit.
func (p *Pool) pacer(key string) *pacer {
	p.making.Lock()
	defer p.making.Unlock()
	if pace, ok := p.pacers.Get(key); ok {
		return pace
	}
	pace := &pacer{}
	p.pacers.Set(key, pace, clientTTL)
	return pace
}

// budget returns the retries of a registry. Two that ask for a new one at the same time may each get one; the later stays.
func (p *Pool) budget(origin string) *retryBudget {
	if b, ok := p.budgets.Get(origin); ok {
		return b
	}
	b := &retryBudget{}
	p.budgets.Set(origin, b, clientTTL)
	return b
}

// bodyError says that a body could not be read on, as opposed to not understood.
type bodyError struct {
	err  error
	from string // whose it is; empty: the registry's
}

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// boundedBody reads at most left bytes, and counts them against the pool from when they are read until release. What is
// counted is what was sent, not what was announced: a slow sender holds no more than it has paid for.
type boundedBody struct {
	ctx    context.Context
	r      io.Reader
	pool   *Pool
	who    string
	left   int64
	read   int64
	held   int64
	unkept bool
}

func (p *Pool) bound(ctx context.Context, who string, r io.Reader, limit int64) *boundedBody {
	return &boundedBody{ctx: ctx, who: who, r: r, pool: p, left: limit}
}

func (b *boundedBody) Read(data []byte) (int, error) {
	// One byte more than allowed tells a body of just the right length from a longer one.
	if int64(len(data)) > b.left+1 {
		data = data[:b.left+1]
	}
	n, err := b.r.Read(data)
	if err != nil && err != io.EOF {
		err = &bodyError{err: err}
	}
	if int64(n) > b.left {
		return int(b.left), content.ErrTooLarge
	}
	b.left -= int64(n)
	if acquireErr := b.acquire(int64(n)); acquireErr != nil {
		return 0, acquireErr
	}
	return n, err
}

func (b *boundedBody) acquire(n int64) error {
	if b.unkept {
		return nil
	}
	b.read += n
	more := decoded(b.read) - b.held
	if err := b.pool.take(b.ctx, b.who, more); err != nil {
		return err
	}
	b.held += more
	return nil
}

// decoded is what so many bytes take with all that is made of them.
func decoded(n int64) int64 { return n + (decodedFactor-1)*min(n, ratify.MaxEnvelopeBytes) }

// take counts bytes that who has sent, and waits a while for room.
func (p *Pool) take(ctx context.Context, who string, n int64) error {
	if p.bodies.Try(who, n) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, inFlightWait)
	defer cancel()
	if err := p.bodies.Take(ctx, who, n); err != nil {
		return &ratify.Error{Code: ratify.Overloaded, Message: "too many answers of registries are being read at the same time", Err: err}
	}
	return nil
}

// stop counts no more, because what was read is not kept.
func (b *boundedBody) stop() {
	b.release()
	b.unkept = true
}

// handOver leaves what is counted to whoever reads under ctx, until he is done with it.
func (b *boundedBody) handOver(ctx context.Context) {
	p, who, held := b.pool, b.who, b.held
	b.held = 0
	ratify.Hold(ctx, func() { p.bodies.Give(who, held) })
}

// release gives back what was counted.
func (b *boundedBody) release() {
	if b.held > 0 {
		b.pool.bodies.Give(b.who, b.held)
		b.held = 0
	}
}
