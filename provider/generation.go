package provider

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/cache"
	"go.uber.org/zap"
)

const (
	// workTime bounds work that goes on after its asker's deadline: a retry by a controller comes within seconds, and
	// what a registry does not deliver in a minute it will not deliver.
	workTime = 60 * time.Second
	// maxFlights bounds the work accepted, under way or waiting: 16 full batches. What is beyond is answered OVERLOADED.
	maxFlights = 1024
	// maxRenewals bounds those of them that nobody waits for. Few are under way at the same time, and one for which there is no
	// room is asked for again before its verdict ends.
	maxRenewals = maxFlights / 16
	// spareShare is the part of the places at registries within which work may begin that nobody waits for: what somebody asks
	// for finds three quarters free of it.
	spareShare = 4
	// lateReserve is the part of an asker's time that what waits before him must leave free. The estimate is a mean, and where
	// more is asked than can be done those are let in whom it promises most: without a reserve a quarter of them is late, and
	// what was done for them is lost to everybody.
	lateReserve = 4
	// staleAfter is how long an answer may still be of the generation before: then it is asked again of the new one.
	staleAfter = time.Second
	// refusalShare of the cache's bounds is for refusals: they last for seconds, and images that are refused cost nothing to
	// invent, so that a flood of them must not push out what is verified.
	refusalShare = 8
)

// A generation is one configuration with all that was decided under it: engine, verdicts, work under way. A new
// configuration is a new generation, so no verdict outlives the policy that it was made by.
type generation struct {
	engine   *ratify.Engine
	settings *config.File
	metrics  *Metrics
	log      *zap.Logger
	slots    *shares                // one for each engine call under way
	queue    *shares                // one for each flight
	verdicts *cache.Cache[*verdict] // of what is verified
	refusals *cache.Cache[*verdict] // and of what is not, or would not be if the policy did not only audit
	tags     *cache.Cache[ocispec.Descriptor]
	keys     *parsedKeys
	earned   *earnings
	timeout  time.Duration // of those who ask for a verification

	work    context.Context // of all flights; it ends when nobody can want their answers any more
	cancel  context.CancelFunc
	retired atomic.Pointer[time.Time] // when another generation came into force

	mu      sync.Mutex
	flights map[string]*flight
}

// A flight is work that any number of askers wait for, and none of them can cancel.
type flight struct {
	subject ratify.Subject
	key     string // the verdict's; empty: it is about a tag
	done    chan struct{}
	placed  atomic.Pointer[time.Time] // since when it has its place, and asks the registry
	step    atomic.Pointer[string]
	inner   atomic.Pointer[flight] // what this one waits for itself
	wanted  context.CancelFunc     // tells one that nobody waited for that somebody does; nil: somebody always did
	verdict *verdict
	cached  bool
	desc    ocispec.Descriptor
	err     error
	reason  *ratify.Error // beside err: why the last known good verdict has to do; nil: it must not
}

func newGeneration(engine *ratify.Engine, settings *config.File, options Options, earned *earnings) *generation {
	c := settings.Cache
	entries, bytes := c.MaxEntries/refusalShare, int64(c.MaxBytes)/refusalShare
	g := &generation{
		engine: engine, settings: settings, metrics: options.Metrics, log: options.Log,
		slots:    newShares(settings.Concurrency, settings.Concurrency/spareShare, earned),
		queue:    newShares(maxFlights, maxRenewals, earned),
		verdicts: cache.New(c.MaxEntries-entries, int64(c.MaxBytes)-bytes, (*verdict).size),
		refusals: cache.New(entries, bytes, (*verdict).size),
		tags: cache.New(c.MaxEntries, int64(c.MaxBytes)/8, func(d ocispec.Descriptor) int64 {
			return 256 + int64(len(d.Digest)+len(d.MediaType))
		}),
		keys:    newParsedKeys(),
		earned:  earned,
		timeout: options.VerifyTimeout,
		flights: map[string]*flight{},
	}
	g.work, g.cancel = context.WithCancel(context.Background())
	return g
}

// cached tells how full the caches of verdicts are.
func (g *generation) cached() cache.Stats {
	v, r := g.verdicts.Stats(), g.refusals.Stats()
	return cache.Stats{Entries: v.Entries + r.Entries, Lasting: v.Lasting, Bytes: v.Bytes + r.Bytes, Evicted: v.Evicted + r.Evicted}
}

// retire is told when another generation has come into force. Soon nobody can be answered by this one any more: then its
// work ends, or each of many configurations in a row would keep its own for a minute.
func (g *generation) retire() {
	now := time.Now()
	g.retired.Store(&now)
	time.AfterFunc(staleAfter, g.cancel)
}

// stale tells whether another generation has been in force for so long that no answer may be of this one.
func (g *generation) stale() bool {
	at := g.retired.Load()
	return at != nil && time.Since(*at) >= staleAfter
}

// verify gives the verdict about the subject, and whether it was known before. An error is an *Error that says why it
// could not be told.
func (g *generation) verify(ctx context.Context, s ratify.Subject) (v *verdict, cached bool, err error) {
	if s.Digest != "" {
		return g.verifyDigest(ctx, s.At(s.Digest), nil, nil)
	}
	if desc, ok := g.tag(s); ok {
		return g.verifyDigest(ctx, s.At(desc.Digest), &desc, nil)
	}
	if v, ok := g.refusals.Get(tagKey(s)); ok {
		g.metrics.verdictHits.Inc()
		return v, true, nil
	}
	// One flight for both steps, so that the second one follows when nobody waits any more.
	f, err := g.join(ctx, "verify "+tagKey(s), s, "", func(ctx context.Context, f *flight) {
		if report, ok := g.engine.Preliminary(s); ok {
			f.verdict, f.err = newVerdict(report)
			return
		}
		desc, err := g.resolveTag(ctx, s)
		if err != nil {
			if f.verdict, f.err = g.refusal(s, err); f.err == nil {
				g.refusals.Set(tagKey(s), f.verdict, f.verdict.life(time.Now(), time.Duration(g.settings.Cache.TagTTL)))
			}
			return
		}
		f.verdict, f.cached, f.err = g.verifyDigest(ctx, s.At(desc.Digest), &desc, f)
	})
	if err != nil {
		return nil, false, err
	}
	if known, err := g.await(ctx, f); known != nil || err != nil {
		return known, false, err
	}
	return f.verdict, f.cached, f.err
}

// verifyDigest is verify for a subject with a digest alone; known is its description, where there is one, and outer the
// flight that asks, if one does.
func (g *generation) verifyDigest(ctx context.Context, s ratify.Subject, known *ocispec.Descriptor, outer *flight) (v *verdict, cached bool, err error) {
	key := verdictKey(s)
	if v, renew, ok := g.known(key); ok {
		g.metrics.verdictHits.Inc()
		if renew {
			g.renew(s, key, v)
		}
		return v, true, nil
	}
	g.metrics.verdictMisses.Inc()
	f, err := g.join(ctx, "verify "+key, s, key, func(ctx context.Context, f *flight) { f.verdict, f.err = g.decide(ctx, f, known) })
	if err != nil {
		if known := g.behindStuck(s, key); known != nil {
			return known, false, nil
		}
		return nil, false, err
	}
	if outer != nil {
		outer.inner.Store(f)
	}
	if known, err := g.await(ctx, f); known != nil || err != nil {
		return known, false, err
	}
	return f.verdict, false, f.err
}

// known gives the verdict that is kept of a subject, unless it would end while Gatekeeper still keeps it: then it is
// worth another look. renew tells one of many askers that it ends soon.
func (g *generation) known(key string) (v *verdict, renew, ok bool) {
	if v, renew, ok = g.verdicts.GetAhead(key); !ok {
		v, ok = g.refusals.Get(key)
	}
	if !ok || v.report.IsSuccess && time.Until(time.Unix(v.report.NotAfter, 0)) < time.Duration(g.settings.GatekeeperCacheTTL) {
		return nil, false, false
	}
	return v, renew, true
}

// renew verifies again what is asked for and ends soon, so that nobody has to wait for it. It waits behind all work that
// somebody waits for, until somebody waits for this one, too. What it cannot tell leaves the verdict until its end.
func (g *generation) renew(s ratify.Subject, key string, v *verdict) {
	// What rests on something that ends, too, would not last longer for it.
	if ttl := time.Duration(g.settings.Cache.TTL); v.life(time.Now(), ttl) < ttl/2 {
		return
	}
	idle, wanted := context.WithTimeout(g.work, workTime)
	work := func(ctx context.Context, f *flight) {
		defer wanted() // the context's timer, where nobody came
		release, err := g.slots.acquireSpare(idle, shareOf(s))
		if err != nil {
			f.verdict, f.err = g.decide(ctx, f, nil)
			return
		}
		defer release()
		v, err := g.look(ctx, f, nil)
		g.metrics.renewed(v, err)
		f.verdict, f.err = g.orLastGood(f, v, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.flights["verify "+key]; ok {
		wanted()
		return
	}
	release, ok := g.queue.trySpare(shareOf(s))
	if !ok {
		wanted()
		return
	}
	g.launch("verify "+key, &flight{subject: s, key: key, done: make(chan struct{}), wanted: wanted}, release, work)
}

// decide asks the engine in its turn. A flight that ended after its asker had looked for a verdict, and before it asked
// for a flight, has left one.
func (g *generation) decide(ctx context.Context, f *flight, known *ocispec.Descriptor) (*verdict, error) {
	if v, _, ok := g.known(f.key); ok {
		return v, nil
	}
	release, err := g.slots.acquire(ctx, shareOf(f.subject))
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := g.look(ctx, f, known)
	return g.orLastGood(f, v, err)
}

// look asks the engine and keeps what it says, unless it could not tell. The flight has its place.
func (g *generation) look(ctx context.Context, f *flight, known *ocispec.Descriptor) (*verdict, error) {
	now := time.Now()
	f.placed.Store(&now)
	lasting, w := g.engine.LastKnownGood(f.subject), g.watch(f.key)
	if lasting > 0 {
		ctx = ratify.WithFindings(ctx, w.told)
	}
	report, err := g.ask(ctx, f.subject, known)
	if err == nil && !report.IsSuccess {
		g.verdicts.Delete(f.key)
	}
	v, encodeErr := newVerdict(report)
	if encodeErr != nil {
		return nil, encodeErr
	}
	if err != nil {
		if end, _ := ctx.Deadline(); end.Sub(now) >= g.timeout { // or its turn came too late to tell anything
			f.reason = w.reason(report, ratify.AsError(err))
		}
		return v, err
	}
	if report.Code == ratify.Verified {
		g.earned.add(shareOf(f.subject))
	}
	v.pieces = w.pieces()
	g.remember(f.key, v, lasting)
	return v, nil
}

// remember keeps a verdict as long as it may be kept, in the place of whatever was known.
func (g *generation) remember(key string, v *verdict, lasting time.Duration) {
	refused := !v.report.IsSuccess || v.report.Code == ratify.WouldBeRefused
	ttl := g.settings.Cache.TTL
	if refused {
		ttl = g.settings.Cache.RefusalTTL
	}
	life := v.life(time.Now(), time.Duration(ttl))
	switch {
	case life <= 0:
		// Where the policy only audits, what could not be told has no life: what was known stays.
	case refused:
		g.verdicts.Delete(key)
		g.refusals.Set(key, v, life)
	default:
		g.refusals.Delete(key)
		g.keep(key, v, life, lasting)
	}
}

func (g *generation) ask(ctx context.Context, s ratify.Subject, known *ocispec.Descriptor) (*ratify.Report, error) {
	if known != nil {
		return g.engine.VerifyResolved(ctx, s, *known)
	}
	return g.engine.Verify(ctx, s)
}

// resolve gives the digest of a tag.
func (g *generation) resolve(ctx context.Context, s ratify.Subject) (ocispec.Descriptor, error) {
	if desc, ok := g.tag(s); ok {
		return desc, nil
	}
	f, err := g.join(ctx, "resolve "+tagKey(s), s, "", func(ctx context.Context, f *flight) { f.desc, f.err = g.resolveTag(ctx, s) })
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := f.wait(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	return f.desc, f.err
}

func (g *generation) resolveTag(ctx context.Context, s ratify.Subject) (ocispec.Descriptor, error) {
	if desc, ok := g.tags.Get(tagKey(s)); ok {
		return desc, nil
	}
	release, err := g.slots.acquire(ctx, shareOf(s))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer release()
	desc, err := g.engine.Resolve(ctx, s)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	// What else the manifest says is of no use, and may be as long as its author likes.
	desc = ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
	g.tags.Set(tagKey(s), desc, time.Duration(g.settings.Cache.TagTTL))
	return desc, nil
}

// tag gives what a tag was resolved to just now.
func (g *generation) tag(s ratify.Subject) (ocispec.Descriptor, bool) {
	desc, ok := g.tags.Get(tagKey(s))
	if ok {
		g.metrics.tagHits.Inc()
	} else {
		g.metrics.tagMisses.Inc()
	}
	return desc, ok
}

// warm begins to verify what will be asked about next, with nobody waiting.
func (g *generation) warm(s ratify.Subject, desc ocispec.Descriptor) {
	s = s.At(desc.Digest)
	key := verdictKey(s)
	if v, renew, ok := g.known(key); ok {
		if renew {
			g.renew(s, key, v)
		}
		return
	}
	// Where there is no room for it, it is left to whoever asks.
	_, _ = g.join(g.work, "verify "+key, s, key, func(ctx context.Context, f *flight) { f.verdict, f.err = g.decide(ctx, f, &desc) })
}

// refusal makes a verdict of an error that is definitive, so that it is answered as one, and of any where the policy only
// audits.
func (g *generation) refusal(s ratify.Subject, err error) (*verdict, error) {
	problem := ratify.AsError(err)
	v, encodeErr := newVerdict(g.engine.Conclude(s, problem))
	switch {
	case encodeErr != nil:
		return nil, encodeErr
	case v.report.IsSuccess || problem.Code.Definitive():
		return v, nil
	default:
		return v, problem
	}
}

// join returns the flight of that name, and starts it if there is none. Its work runs under a context of its own. key is the
// verdict's, where it is about one.
//
// It is not started where its asker could not be answered in time because of what waits before it, and he is told at once. The
// retry would find the answer; but whoever comes in between would be as late, for as long as more is asked than can be
// done, and nobody be answered.
func (g *generation) join(ctx context.Context, name string, s ratify.Subject, key string, work func(context.Context, *flight)) (*flight, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.flights[name]; ok {
		if f.wanted != nil {
			f.wanted()
		}
		return f, nil
	}
	who := shareOf(s)
	if late := g.late(ctx, who, key); late != nil {
		return nil, late
	}
	release, ok := g.queue.try(who)
	if !ok {
		return nil, &ratify.Error{Code: ratify.Overloaded}
	}
	f := &flight{subject: s, key: key, done: make(chan struct{})}
	g.launch(name, f, release, work)
	return f, nil
}

// late tells that what would be begun now could not be done before the asker's deadline. A tag has to wait twice.
func (g *generation) late(ctx context.Context, who, key string) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	expected := g.slots.expect(who)
	if key == "" {
		expected *= 2
	}
	if left := time.Until(deadline); expected <= left-left/lateReserve {
		return nil
	}
	return &ratify.Error{Code: ratify.Overloaded, Message: "what waits for the same registry takes longer than there is time"}
}

// launch starts a flight that has its place in the queue, which release gives back. It is called under mu.
func (g *generation) launch(name string, f *flight, release func(), work func(context.Context, *flight)) {
	f.at("waiting for its turn")
	g.flights[name] = f
	g.metrics.flights.Inc()
	go func() {
		defer func() {
			g.mu.Lock()
			delete(g.flights, name)
			g.mu.Unlock()
			release()
			g.metrics.flights.Dec()
			close(f.done)
		}()
		g.fly(f, work)
	}()
}

// fly does the work of a flight. A panic is its failure.
func (g *generation) fly(f *flight, work func(context.Context, *flight)) {
	ctx, cancel := context.WithTimeout(g.work, workTime)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			g.metrics.panics.Inc()
			g.log.Error("panic in a verification", panicField(value), zap.ByteString("stack", debug.Stack()))
			f.verdict, f.err = nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("panic: %v", value)}
		}
	}()
	work(ratify.WithProgress(ctx, f.at), f)
}

func (f *flight) at(step string) { f.step.Store(&step) }

// innermost is the flight that this one waits for, or itself.
func (f *flight) innermost() *flight {
	if inner := f.inner.Load(); inner != nil {
		return inner.innermost()
	}
	return f
}

// late says that an asker's time has ended, and how far the work got.
func (f *flight) late(err error) *ratify.Error {
	return &ratify.Error{Code: ratify.Deadline, Err: err,
		Message: ratify.Deadline.Info().Message + ", while " + *f.innermost().step.Load()}
}

// wait waits until the work has ended or the asker's time has: then it says how far the work got.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return f.late(ctx.Err())
	}
}

func verdictKey(s ratify.Subject) string {
	return s.Namespace + " " + s.Repository + "@" + string(s.Digest)
}

func tagKey(s ratify.Subject) string { return s.Namespace + " " + s.Repository + ":" + s.Tag }
