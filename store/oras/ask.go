package oras

import (
	"context"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/credprogram"
	"github.com/ratify-provider/ratify/internal/keyring"
	"github.com/ratify-provider/ratify/internal/listhash"
	"github.com/ratify-provider/ratify/internal/pullsecret"
)

const (
	// maxPrograms bounds the programs that run at the same time: whoever writes references chooses what they are asked for,
	// and those of clouds take 50 MB each.
	maxPrograms = 4
	// An answer that asks not to be kept is kept for minKeep all the same: one image is several requests. maxKeep is the
	// longest life of a credential of a large cloud (ECR's).
	minKeep = 5 * time.Second
	maxKeep = 12 * time.Hour
	// keepNone is how long it is kept that a program has no credential: somebody may be about to log in.
	keepNone = time.Minute
	// maxAnswers and maxAnswerBytes bound the kept answers: one for each registry, or each repository, in use.
	maxAnswers     = 4096
	maxAnswerBytes = 16 << 20
)

// answered is what a program said, and when.
type answered struct {
	ring keyring.Ring
	err  error
	at   time.Time
}

// question is one that a program is asked.
type question struct {
	label string
	// join is for whom the program is asked at once: all who ask about the same image, or the same registry.
	join credprogram.Extent
	get  func(context.Context) (credprogram.Answer, error)
}

// answerKey is what an answer is kept under; key stands for the program and its settings.
func answerKey(key string, t target, extent credprogram.Extent) string {
	switch extent {
	case credprogram.ForImage:
		return listhash.Sum(key, "image", t.host, t.path)
	case credprogram.ForRegistry:
		return listhash.Sum(key, "registry", t.host)
	default:
		return listhash.Sum(key, "all")
	}
}

// kept finds an answer that is for the target.
func (p *Pool) kept(key string, t target) (a answered, at string, ok bool) {
	for _, extent := range []credprogram.Extent{credprogram.ForImage, credprogram.ForRegistry, credprogram.ForAll} {
		at = answerKey(key, t, extent)
		if a, ok = p.answers.Get(at); ok {
			return a, at, true
		}
	}
	return answered{}, "", false
}

// askProgram returns what a program has for a target: what it said before, or what it says to all who ask at this time.
func (p *Pool) askProgram(ctx context.Context, key string, t target, q question) (found []candidate, none string, err error) {
	a, at, ok := p.kept(key, t)
	if !ok {
		ratify.Progress(ctx, "asking "+q.label+" for credentials")
		if a, at, err = p.runProgram(ctx, key, t, q); err != nil {
			return nil, "", err
		}
	}
	if a.err != nil {
		return nil, "", a.err
	}
	found, none = fromRing(a.ring, t, q.label)
	for i := range found {
		found[i].forget = func() { p.forget(at, a) }
	}
	return found, none, nil
}

// run is one run of a program, and where its answer is kept.
type run struct {
	answered
	at string
}

// runProgram runs a program and keeps its answer, or its failure. The run belongs to no caller. An error is the context's,
// or says that there was no room.
func (p *Pool) runProgram(ctx context.Context, key string, t target, q question) (answered, string, error) {
	done := p.flights.DoChan(answerKey(key, t, q.join), func() (any, error) {
		if a, at, ok := p.kept(key, t); ok {
			return run{a, at}, nil // since it was looked for, another run has ended
		}
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*credprogram.Timeout) // to wait, and to run
		defer cancel()
		if err := p.programs.Acquire(shared, 1); err != nil {
			return nil, &ratify.Error{Code: ratify.Overloaded, Message: "too many programs are asked for credentials at the same time", Err: err}
		}
		defer p.programs.Release(1)
		answer, err := q.get(shared)
		r := run{answered{ring: answer.Ring, err: err, at: time.Now()}, answerKey(key, t, q.join)}
		keep := p.refusedFor
		if err == nil {
			r.at, keep = answerKey(key, t, answer.Extent), min(max(answer.Keep, minKeep), maxKeep)
			if found, _ := fromRing(r.ring, t, ""); len(found) == 0 {
				keep = min(keep, keepNone)
			}
		}
		p.answers.Set(r.at, r.answered, keep)
		return r, nil
	})
	select {
	case <-ctx.Done():
		return answered{}, "", ctx.Err()
	case result := <-done:
		if result.Err != nil {
			return answered{}, "", result.Err
		}
		r := result.Val.(run)
		return r.answered, r.at, nil
	}
}

// forget drops an answer whose credential was refused, unless it is new: a registry that refuses whatever it is given must
// not make a program run for each request.
func (p *Pool) forget(at string, a answered) {
	if current, ok := p.answers.Get(at); ok && current.at.Equal(a.at) && time.Since(a.at) > p.refusedFor {
		p.answers.Set(at, answered{}, 0)
	}
}

// apiServer returns the client for pull secrets of the settings, which keeps what it has read.
func (p *Pool) apiServer(s pullsecret.Settings) (*pullsecret.Client, error) {
	key := listhash.Sum(s.APIServer, s.TokenFile, s.CAFile, s.ServiceAccount)
	if c, ok := p.apiServers.Get(key); ok {
		return c, nil
	}
	c, err := pullsecret.New(s)
	if err != nil {
		return nil, err
	}
	p.apiServers.Set(key, c, clientTTL)
	return c, nil
}
