package provider

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"go.uber.org/zap"
)

// A start answers a key, or gives what is left to do for it.
type start func(key string) (a answer, rest *rest)

// A rest is what may wait for a registry, whose share that is.
type rest struct {
	who string
	run func(context.Context) answer
}

// each answers all keys, those that must wait at the same time. A panic in one is that one's problem.
func (p *Provider) each(ctx context.Context, keys []string, begin start) []answer {
	answers := make([]answer, len(keys))
	var wait sync.WaitGroup
	for i, key := range keys {
		rest := p.begin(key, begin, &answers[i])
		if rest == nil {
			continue
		}
		release, ok := p.waiting.try(rest.who)
		if !ok {
			answers[i] = answer{key: key, problem: &ratify.Error{Code: ratify.Overloaded, Message: "too many images are waited for"}}
			continue
		}
		wait.Go(func() {
			defer release()
			p.finish(ctx, key, rest, &answers[i])
		})
	}
	wait.Wait()
	return answers
}

func (p *Provider) begin(key string, begin start, a *answer) (rest *rest) {
	defer p.survive(key, a)
	*a, rest = begin(key)
	a.key = key
	return rest
}

func (p *Provider) finish(ctx context.Context, key string, rest *rest, a *answer) {
	defer p.survive(key, a)
	*a = rest.run(ctx)
	a.key = key
}

// survive makes a panic the key's answer.
func (p *Provider) survive(key string, a *answer) {
	if value := recover(); value != nil {
		p.options.Metrics.panics.Inc()
		p.options.Log.Error("panic in a key", panicField(value), zap.ByteString("stack", debug.Stack()))
		*a = answer{key: key, problem: &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("panic: %v", value)}}
	}
}

// verify answers each key with the report about its image.
func (p *Provider) verify(ctx context.Context, g *generation, keys []string) []answer {
	return p.each(ctx, keys, func(key string) (answer, *rest) {
		k, err := g.parse(key)
		if err != nil {
			v, err := g.refusal(ratify.Subject{Repository: shown(key)}, err)
			return verdictAnswer(v, err), nil
		}
		if v, ok := g.hit(k); ok {
			return answer{verdict: v, cached: true, plain: k.plain}, nil
		}
		return answer{}, &rest{shareOf(k.subject), func(ctx context.Context) answer { return g.find(ctx, k.subject) }}
	})
}

// find answers with the report about an image that may not be known yet.
func (g *generation) find(ctx context.Context, s ratify.Subject) answer {
	v, cached, err := g.verify(ctx, s)
	if err != nil && g.engine.Audits(s) {
		v, err = g.refusal(s, err)
	}
	a := verdictAnswer(v, err)
	a.cached = cached
	if a.verdict == nil {
		a.report = g.engine.NewReport(s)
		a.report.Fail(a.problem)
	}
	return a
}

// parse parses a key, unless it was parsed before and its image is known.
func (g *generation) parse(key string) (*parsedKey, error) {
	if k := g.keys.get(key); k != nil {
		return k, nil
	}
	s, err := g.engine.ParseKey(key)
	if err == nil && s.Namespace == "" && g.settings.Tenancy.Enabled {
		// The template for one tenant beside a configuration for several: a namespace's own policies would be passed by.
		err = &ratify.Error{Code: ratify.BadReference, Message: "the key " + ratify.Quote(key) + " names no namespace, and tenancy is on",
			Remedy: "apply the ConstraintTemplate for tenants, library/tenants/template.yaml"}
	}
	if err != nil {
		return nil, err
	}
	return newParsedKey(key, s), nil
}

// hit gives a verdict that is known, and does not wait.
func (g *generation) hit(k *parsedKey) (*verdict, bool) {
	s, id := k.subject, k.id
	if s.Digest == "" {
		desc, ok := g.tags.Get(id)
		if !ok {
			return nil, false
		}
		s = s.At(desc.Digest)
		id = verdictKey(s)
	}
	v, renew, ok := g.known(id)
	if !ok {
		return nil, false
	}
	if k.subject.Digest == "" {
		g.metrics.tagHits.Inc()
	}
	g.metrics.verdictHits.Inc()
	if renew {
		g.renew(s, id, v)
	}
	g.keys.put(k)
	return v, true
}

func verdictAnswer(v *verdict, err error) answer {
	if err != nil {
		return answer{verdict: v, problem: ratify.AsError(err)}
	}
	return answer{verdict: v}
}

// mutate answers each key with the reference as it was spelled, pinned to its digest. A value becomes the image, so
// whatever is not resolved has none.
func (p *Provider) mutate(ctx context.Context, g *generation, keys []string) []answer {
	return p.each(ctx, keys, func(key string) (answer, *rest) {
		s, err := ratify.ParseKey(key) // a value becomes the image: no prefix can be in it
		switch {
		case err != nil:
			s.Repository = shown(key)
			return g.notPinned(s, ratify.AsError(err)), nil
		case s.Digest != "":
			return answer{pinned: key, report: mutationReport(g, s, nil)}, nil
		}
		return answer{}, &rest{shareOf(s), func(ctx context.Context) answer { return g.pin(ctx, key, s) }}
	})
}

// pin answers with the reference to which the tag is resolved.
func (g *generation) pin(ctx context.Context, key string, s ratify.Subject) answer {
	desc, err := g.resolve(ctx, s)
	if err != nil {
		return g.notPinned(s, ratify.AsError(err))
	}
	g.warm(s, desc)
	s.Digest = desc.Digest
	return answer{pinned: pin(key, s, g.settings.Mutation.Reference), report: mutationReport(g, s, nil)}
}

// notPinned answers with the reason why there is no reference.
func (g *generation) notPinned(s ratify.Subject, problem *ratify.Error) answer {
	if problem.Code == ratify.RegistryAuth && g.settings.Tenancy.Enabled {
		told := *problem
		told.Message = problem.UserMessage() + "; a mutation does not say for which namespace it is, so that the cluster's credentials are used"
		told.Remedy = "name the image by its digest where only a namespace's credentials can read it"
		problem = &told
	}
	a := answer{problem: problem, report: mutationReport(g, s, problem)}
	if problem.Code.Definitive() {
		a.problem, a.refusal = nil, cut(fmt.Sprintf("%s: %s. %s", problem.Code, problem.UserMessage(), problem.UserRemedy()), maxReasonBytes)+" (trace "+a.report.TraceID+")"
	}
	return a
}

// pin adds the digest to the reference as it was spelled; where the digest alone is wanted, the tag goes.
func pin(key string, s ratify.Subject, form config.MutationReference) string {
	if form == config.DigestOnly {
		key = strings.TrimSuffix(key, ":"+s.Tag)
	}
	return key + "@" + s.Digest.String()
}

func mutationReport(g *generation, s ratify.Subject, problem *ratify.Error) *ratify.Report {
	report := g.engine.NewReport(s)
	if problem != nil {
		report.Fail(problem)
		report.Message = strings.TrimPrefix(report.Message, "verification failed: ")
		return report
	}
	report.IsSuccess, report.Succeeded, report.Code = true, true, ratify.Pinned
	report.Message = report.Code.Info().Message
	return report
}
