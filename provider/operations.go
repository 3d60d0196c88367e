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

// each answers all keys at the same time. A panic in one is that one's problem.
func (p *Provider) each(ctx context.Context, keys []string, one func(context.Context, string) answer) []answer {
	answers := make([]answer, len(keys))
	var wait sync.WaitGroup
	for i, key := range keys {
		wait.Go(func() {
			defer func() {
				if value := recover(); value != nil {
					p.options.Metrics.panics.Inc()
					p.options.Log.Error("panic in a key", panicField(value), zap.ByteString("stack", debug.Stack()))
					answers[i] = answer{key: key, problem: &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("panic: %v", value)}}
				}
			}()
			answers[i] = one(ctx, key)
			answers[i].key = key
		})
	}
	wait.Wait()
	return answers
}

// verify answers each key with the report about its image.
func (p *Provider) verify(ctx context.Context, g *generation, keys []string) []answer {
	return p.each(ctx, keys, func(ctx context.Context, key string) answer {
		s, err := g.engine.ParseKey(key)
		if err == nil && s.Namespace == "" && g.settings.Tenancy.Enabled {
			// The template for one tenant beside a configuration for several: a namespace's own policies would be passed by.
			err = &ratify.Error{Code: ratify.BadReference, Message: "the key " + ratify.Quote(key) + " names no namespace, and tenancy is on",
				Remedy: "apply the ConstraintTemplate for tenants, library/tenants/template.yaml"}
		}
		if err != nil {
			v, err := g.refusal(ratify.Subject{Repository: shown(key)}, err)
			return verdictAnswer(v, err)
		}
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
	})
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
	return p.each(ctx, keys, func(ctx context.Context, key string) answer {
		s, err := ratify.ParseKey(key) // a value becomes the image: no prefix can be in it
		if err == nil && s.Digest != "" {
			return answer{pinned: key, report: mutationReport(g, s, nil)}
		}
		if err == nil {
			desc, resolveErr := g.resolve(ctx, s)
			if resolveErr == nil {
				g.warm(s, desc)
				s.Digest = desc.Digest
				return answer{pinned: pin(key, s, g.settings.Mutation.Reference), report: mutationReport(g, s, nil)}
			}
			err = resolveErr
		} else {
			s.Repository = shown(key)
		}
		problem := ratify.AsError(err)
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
	})
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
