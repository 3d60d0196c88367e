package provider

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/cache"
)

const (
	// workTime bounds work that goes on after its asker's deadline: a retry by a controller comes within seconds, and
	// what a registry does not deliver in a minute it will not deliver.
	workTime = 60 * time.Second
	// maxFlights bounds the work accepted, under way or waiting: 16 full batches. What is beyond is answered OVERLOADED.
	maxFlights = 1024
)

// A generation is one configuration with all that was decided under it: engine, verdicts, work under way. A new
// configuration is a new generation, so no verdict outlives the policy that it was made by.
type generation struct {
	engine   *ratify.Engine
	settings *config.File
	metrics  *Metrics
	slots    chan struct{} // one for each engine call under way
	verdicts *cache.Cache[*verdict]
	tags     *cache.Cache[ocispec.Descriptor]

	mu      sync.Mutex
	flights map[string]*flight
}

// A flight is work that any number of askers wait for, and none of them can cancel.
type flight struct {
	done    chan struct{}
	step    atomic.Pointer[string]
	verdict *verdict
	desc    ocispec.Descriptor
	err     error
}

func newGeneration(engine *ratify.Engine, settings *config.File, metrics *Metrics) *generation {
	c := settings.Cache
	return &generation{
		engine: engine, settings: settings, metrics: metrics,
		slots:    make(chan struct{}, settings.Concurrency),
		verdicts: cache.New(c.MaxEntries, int64(c.MaxBytes), (*verdict).size),
		tags:     cache.New(c.MaxEntries, int64(c.MaxBytes)/8, func(d ocispec.Descriptor) int64 { return 256 + int64(len(d.Digest)) }),
		flights:  map[string]*flight{},
	}
}

// verify gives the verdict about the subject, and whether it was known before. An error is an *Error that says why it
// could not be told.
func (g *generation) verify(ctx context.Context, s ratify.Subject) (v *verdict, cached bool, err error) {
	if s.Digest != "" {
		return g.verifyDigest(ctx, s.At(s.Digest), nil)
	}
	if desc, ok := g.tags.Get(tagKey(s)); ok {
		return g.verifyDigest(ctx, s.At(desc.Digest), &desc)
	}
	// One flight for both steps, so that the second one follows when nobody waits any more.
	f, err := g.join("verify "+tagKey(s), func(ctx context.Context, f *flight) {
		if report, ok := g.engine.Preliminary(s); ok {
			f.verdict, f.err = newVerdict(report)
			return
		}
		desc, err := g.resolveTag(ctx, s)
		if err != nil {
			f.verdict, f.err = g.refusal(s, err)
			return
		}
		f.verdict, _, f.err = g.verifyDigest(ctx, s.At(desc.Digest), &desc)
	})
	if err != nil {
		return nil, false, err
	}
	if err := f.wait(ctx); err != nil {
		return nil, false, err
	}
	return f.verdict, false, f.err
}

// verifyDigest is verify for a subject with a digest alone; known is its description, where there is one.
func (g *generation) verifyDigest(ctx context.Context, s ratify.Subject, known *ocispec.Descriptor) (v *verdict, cached bool, err error) {
	if v, ok := g.known(s); ok {
		g.metrics.cacheLookups.WithLabelValues("verdict", "hit").Inc()
		return v, true, nil
	}
	g.metrics.cacheLookups.WithLabelValues("verdict", "miss").Inc()
	f, err := g.join("verify "+verdictKey(s), func(ctx context.Context, f *flight) { f.verdict, f.err = g.decide(ctx, s, known) })
	if err != nil {
		return nil, false, err
	}
	if err := f.wait(ctx); err != nil {
		return nil, false, err
	}
	return f.verdict, false, f.err
}

// known gives the verdict that is kept of a subject, unless it would end while Gatekeeper still keeps it: then it is
// worth another look.
func (g *generation) known(s ratify.Subject) (*verdict, bool) {
	v, ok := g.verdicts.Get(verdictKey(s))
	if !ok || v.report.IsSuccess && time.Until(time.Unix(v.report.NotAfter, 0)) < time.Duration(g.settings.GatekeeperCacheTTL) {
		return nil, false
	}
	return v, true
}

// decide asks the engine and keeps what it says, unless it could not tell. A flight that ended after its asker had
// looked for a verdict, and before it asked for a flight, has left one.
func (g *generation) decide(ctx context.Context, s ratify.Subject, known *ocispec.Descriptor) (*verdict, error) {
	if v, ok := g.known(s); ok {
		return v, nil
	}
	release, err := g.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	report, err := g.ask(ctx, s, known)
	v, encodeErr := newVerdict(report)
	if encodeErr != nil {
		return nil, encodeErr
	}
	if err != nil {
		return v, err
	}
	ttl := time.Duration(g.settings.Cache.TTL)
	if !report.IsSuccess {
		ttl = time.Duration(g.settings.Cache.RefusalTTL)
	}
	g.verdicts.Set(verdictKey(s), v, v.life(time.Now(), ttl))
	return v, nil
}

func (g *generation) ask(ctx context.Context, s ratify.Subject, known *ocispec.Descriptor) (*ratify.Report, error) {
	if known != nil {
		return g.engine.VerifyResolved(ctx, s, *known)
	}
	return g.engine.Verify(ctx, s)
}

// resolve gives the digest of a tag.
func (g *generation) resolve(ctx context.Context, s ratify.Subject) (ocispec.Descriptor, error) {
	if desc, ok := g.tags.Get(tagKey(s)); ok {
		g.metrics.cacheLookups.WithLabelValues("tag", "hit").Inc()
		return desc, nil
	}
	g.metrics.cacheLookups.WithLabelValues("tag", "miss").Inc()
	f, err := g.join("resolve "+tagKey(s), func(ctx context.Context, f *flight) { f.desc, f.err = g.resolveTag(ctx, s) })
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
	release, err := g.slot(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer release()
	desc, err := g.engine.Resolve(ctx, s)
	if err == nil {
		g.tags.Set(tagKey(s), desc, time.Duration(g.settings.Cache.TagTTL))
	}
	return desc, err
}

// warm begins to verify what will be asked about next, with nobody waiting.
func (g *generation) warm(s ratify.Subject, desc ocispec.Descriptor) {
	s = s.At(desc.Digest)
	// Where there is no room for it, it is left to whoever asks.
	if _, ok := g.known(s); !ok {
		_, _ = g.join("verify "+verdictKey(s), func(ctx context.Context, f *flight) { f.verdict, f.err = g.decide(ctx, s, &desc) })
	}
}

// refusal makes a verdict of an error that is definitive, so that it is answered as one; it is not cached, for it has
// no digest to be kept under.
func (g *generation) refusal(s ratify.Subject, err error) (*verdict, error) {
	problem := ratify.AsError(err)
	report := g.engine.NewReport(s)
	report.Fail(problem)
	v, encodeErr := newVerdict(report)
	if encodeErr != nil {
		return nil, encodeErr
	}
	if problem.Code.Definitive() {
		return v, nil
	}
	return v, problem
}

// join returns the flight of that name, and starts it if there is none. Its work runs under a context of its own.
func (g *generation) join(name string, work func(context.Context, *flight)) (*flight, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.flights[name]; ok {
		return f, nil
	}
	if len(g.flights) >= maxFlights {
		return nil, &ratify.Error{Code: ratify.Overloaded}
	}
	f := &flight{done: make(chan struct{})}
	f.at("waiting for its turn")
	g.flights[name] = f
	g.metrics.flights.Inc()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), workTime)
		defer func() {
			cancel()
			if value := recover(); value != nil {
				f.verdict, f.err = nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("panic: %v", value)}
			}
			g.mu.Lock()
			delete(g.flights, name)
			g.mu.Unlock()
			g.metrics.flights.Dec()
			close(f.done)
		}()
		work(ratify.WithProgress(ctx, f.at), f)
	}()
	return f, nil
}

// slot waits for one of the places that bound the work under way.
func (g *generation) slot(ctx context.Context) (release func(), err error) {
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots }, nil
	case <-ctx.Done():
		return nil, &ratify.Error{Code: ratify.Overloaded, Err: ctx.Err()}
	}
}

func (f *flight) at(step string) { f.step.Store(&step) }

// wait waits until the work has ended or the asker's time has: then it says how far the work got.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return &ratify.Error{Code: ratify.Deadline, Err: ctx.Err(),
			Message: ratify.Deadline.Info().Message + ", while " + *f.step.Load()}
	}
}

func verdictKey(s ratify.Subject) string { return s.Namespace + " " + s.String() }

func tagKey(s ratify.Subject) string { return s.Namespace + " " + s.Repository + ":" + s.Tag }
