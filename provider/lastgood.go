package provider

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/ratify-provider/ratify"
)

// standInReserve is how long before its asker's deadline the last known good verdict is given where the registry keeps it
// waiting: what is left to write the answer, and for a machine that is busy.
const standInReserve = 100 * time.Millisecond

// away tells whether a reason means that a registry or a revocation source does not answer, or not in time. It does not
// where it answers something else than it was asked for, or refuses access, which may have been taken away; nor where it was
// this program that could not: what others ask for at the same time must not decide by what an image is admitted.
func away(code ratify.Code) bool {
	switch code {
	case ratify.RegistryUnavailable, ratify.RateLimited, ratify.RevocationUnavailable, ratify.Deadline:
		return true
	}
	return false
}

// lastGood gives the verdict by which the image is admitted, because that is verified under this configuration and has not
// been refused since, where it cannot be told now and its policy says so. It is nil where there is none.
func (g *generation) lastGood(s ratify.Subject, key string, problem *ratify.Error) *verdict {
	if !away(problem.Code) || g.engine.LastKnownGood(s) == 0 || g.work.Err() != nil {
		return nil
	}
	known, end, ok := g.verdicts.Last(key)
	if !ok {
		return nil
	}
	v, err := known.stand(problem, end)
	if err != nil || !time.Now().Before(time.Unix(v.report.NotAfter, 0)) {
		return nil
	}
	return v
}

// orLastGood is what a flight has found out, or the last known good verdict where it could not.
func (g *generation) orLastGood(f *flight, v *verdict, err error) (*verdict, error) {
	if err == nil || f.reason == nil {
		return v, err
	}
	if known := g.lastGood(f.subject, f.key, f.reason); known != nil {
		return known, nil
	}
	return v, err
}

// asked tells whether a flight has been at the registry for so long that this has to do with it. Where it had to wait for
// its place and its time is nearly up, that is because of what else is asked for.
func (g *generation) asked(f *flight) bool {
	at := f.placed.Load()
	return at != nil && time.Since(*at) >= g.timeout/2
}

// await waits for a flight. Where the registry keeps it waiting until the asker's time is nearly up, or has for as long
// before he came, it gives the last known good verdict, if there is one.
func (g *generation) await(ctx context.Context, f *flight) (known *verdict, err error) {
	if g.engine.LastKnownGood(f.subject) == 0 {
		return nil, f.wait(ctx)
	}
	timer := time.NewTimer(g.patience(ctx, f))
	defer timer.Stop()
	select {
	case <-f.done:
		return nil, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-f.done: // both at once, and what has been found out goes before what was known
		return nil, nil
	default:
	}
	if v := g.standIn(f); v != nil {
		return v, nil
	}
	if err = f.wait(ctx); err == nil {
		return nil, nil
	}
	return g.standIn(f), err
}

// patience is how long an asker waits for a flight before the last known good verdict has to do.
func (g *generation) patience(ctx context.Context, f *flight) time.Duration {
	patience := g.timeout
	if deadline, ok := ctx.Deadline(); ok {
		patience = time.Until(deadline)
	}
	if at := f.innermost().placed.Load(); at != nil {
		patience = min(patience, g.timeout-time.Since(*at))
	}
	return patience - min(standInReserve, g.timeout/4)
}

// standIn is the last known good verdict of what the flight is about, if it is at the registry. What waits for its turn
// here does so because of what else is asked for, unless that is stuck at the same registry.
func (g *generation) standIn(f *flight) *verdict {
	inner := f.innermost()
	switch {
	case inner.key == "":
		return nil
	case inner.placed.Load() == nil:
		return g.behindStuck(inner.subject, inner.key)
	case !g.asked(inner):
		return nil
	}
	return g.lastGood(inner.subject, inner.key, f.late(context.DeadlineExceeded))
}

// behindStuck is the last known good verdict where others wait for the same registry for longer than anybody who asks does.
func (g *generation) behindStuck(s ratify.Subject, key string) *verdict {
	if !g.slots.stuck(shareOf(s), g.timeout) {
		return nil
	}
	return g.lastGood(s, key, &ratify.Error{Code: ratify.RegistryUnavailable, Message: "others wait for the registry in vain"})
}

// A watch sees what becomes of the evidence of an image while it is verified. When something is refused that spoke for it
// before, or that counts against it, it is no longer known to be good, even if the rest cannot be told.
type watch struct {
	g     *generation
	key   string
	known *verdict // nil: none

	mu    sync.Mutex
	found pieces
}

// pieces are what became of the evidence of a verified image, by a hash of what each piece is.
type pieces struct{ passed, refused []uint64 }

func (p pieces) size() int64 { return 8 * int64(cap(p.passed)+cap(p.refused)) }

func (g *generation) watch(key string) *watch {
	w := &watch{g: g, key: key}
	w.known, _, _ = g.verdicts.Last(key)
	return w
}

func (w *watch) told(f ratify.Finding) {
	piece, search := w.hash(f, f.Reference.String()), w.hash(f, "")
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.Passed {
		// With the piece its verifier's search: to find none any more is a refusal, too.
		w.found.passed = append(w.found.passed, piece, search)
		return
	}
	w.found.refused = append(w.found.refused, piece)
	if w.known == nil {
		return
	}
	before := w.known.pieces
	if slices.Contains(before.passed, piece) || f.Counts && !slices.Contains(before.refused, piece) {
		w.g.verdicts.Delete(w.key)
	}
}

// reason is why the last known good verdict has to do for what could not be told, nil where it must not. What is attached to
// the image beside the evidence that spoke for it then decides nothing: neither does it take the place of what is there no
// more, nor is what is wrong with it the reason. Where access is refused it may have been taken away, for good.
func (w *watch) reason(report *ratify.Report, problem *ratify.Error) *ratify.Error {
	switch {
	case len(report.VerifierReports) == 0 && problem.Code == ratify.RegistryAuth:
		w.g.verdicts.Delete(w.key)
		return nil
	case w.known == nil:
		return nil
	}
	still := map[uint64]bool{} // of each search that found something then: whether any of it is there
	for i := range report.VerifierReports {
		r := &report.VerifierReports[i]
		f := ratify.Finding{Subject: r.Subject, Verifier: r.Name}
		search := w.hash(f, "")
		if !slices.Contains(w.known.pieces.passed, search) {
			continue
		}
		known := slices.Contains(w.known.pieces.passed, w.hash(f, r.Reference.String()))
		still[search] = still[search] || known && (r.IsSuccess || r.Code == ratify.NotExamined || away(r.Code))
		if known && away(r.Code) && !away(problem.Code) {
			problem = &ratify.Error{Code: r.Code, Message: r.Message, Remedy: r.Remedy}
		}
	}
	for _, there := range still {
		if !there {
			return nil
		}
	}
	return problem
}

func (w *watch) hash(f ratify.Finding, reference string) uint64 {
	return maphash.Comparable(w.g.keys.seed, [3]string{f.Subject, f.Verifier, reference})
}

// pieces are what was found. Nobody tells of more.
func (w *watch) pieces() pieces {
	w.mu.Lock()
	defer w.mu.Unlock()
	return pieces{slices.Clone(w.found.passed), slices.Clone(w.found.refused)}
}

// keep keeps what an image was verified by: for its TTL, and where its policy says so as the last known good.
func (g *generation) keep(key string, v *verdict, life, lasting time.Duration) {
	if lasting == 0 || v.report.Code != ratify.Verified && v.report.Code != ratify.Audited {
		g.verdicts.Set(key, v, life)
		return
	}
	end := v.report.Timestamp.Add(lasting)
	if notAfter := time.Unix(v.report.NotAfter, 0); notAfter.Before(end) {
		end = notAfter
	}
	g.verdicts.SetLasting(key, v, life, time.Until(end))
}
