// Package provider is the HTTPS face to Gatekeeper: the external data protocol, its bounds and deadlines, the result
// cache, the log record of each image and the metrics. It decides nothing about images: the engine does.
//
// Gatekeeper looks at nothing but the body of an answer, caches every item in it, and admits what an item does not deny.
// So every answer holds these invariants:
//
//	I1 items and requested keys are a bijection, each key echoed byte for byte, one item for duplicates;
//	I2 a systemError comes with no item;
//	I3 what could not be told of any key is a systemError, a refusal is an item whose value says so;
//	I4 every path, a panic and a timeout included, writes a complete ProviderResponse;
//	I5 the response is bounded in size.
//
// Begin at Provider.Handler.
package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/cache"
	"go.uber.org/zap"
)

// The paths of the two operations.
const (
	VerifyPath = "/ratify/gatekeeper/v1/verify"
	MutatePath = "/ratify/gatekeeper/v1/mutate"
)

// maxRequests bounds the requests under way: Gatekeeper has tens of serving threads, one request each.
const maxRequests = 512

// maxWriters bounds the answers in memory at the same time: until one is written its verdicts are shared. An answer that
// an attacker made as long as can be takes 3 MiB while it is written (maxReportBytes): 48 need 144 MiB.
const maxWriters = 48

// Options are what a Provider needs beside a configuration.
type Options struct {
	// VerifyTimeout and MutateTimeout are the deadlines of the two operations, from the arrival of a request. They must
	// lie below the Provider object's timeout, and that below the webhook's.
	VerifyTimeout, MutateTimeout time.Duration
	Log                          *zap.Logger
	Metrics                      *Metrics
}

// A Provider answers Gatekeeper. It refuses everything until it has a configuration.
type Provider struct {
	options Options
	current atomic.Pointer[generation]
	slots   chan struct{} // one for each request under way
	writers chan struct{} // one for each answer in memory
}

// New returns a Provider without a configuration; see Install.
func New(options Options) *Provider {
	p := &Provider{options: options, slots: make(chan struct{}, maxRequests), writers: make(chan struct{}, maxWriters)}
	options.Metrics.watchCache(func() cache.Stats {
		if g := p.current.Load(); g != nil {
			return g.verdicts.Stats()
		}
		return cache.Stats{}
	})
	return p
}

// Install puts a configuration into force: requests that arrive from now on see nothing of the one before.
func (p *Provider) Install(engine *ratify.Engine, settings *config.File) {
	if before := p.current.Swap(newGeneration(engine, settings, p.options)); before != nil {
		before.retire()
	}
	p.options.Metrics.configLoaded.SetToCurrentTime()
	p.options.Metrics.lastReload.WithLabelValues("configuration").Set(1)
}

// Ready tells whether there is a configuration.
func (p *Provider) Ready() bool { return p.current.Load() != nil }

// Handler serves the two operations and answers everything else, in the protocol's own form.
func (p *Provider) Handler() http.Handler {
	// A path that was cleaned would be answered by a redirect, which is no ProviderResponse.
	router := mux.NewRouter().SkipClean(true)
	router.HandleFunc(VerifyPath, p.serve("verify", p.options.VerifyTimeout, p.verify)).Methods(http.MethodPost)
	router.HandleFunc(MutatePath, p.serve("mutate", p.options.MutateTimeout, p.mutate)).Methods(http.MethodPost)
	router.NotFoundHandler = p.refuse(http.StatusNotFound, "no such path; expected "+VerifyPath+" or "+MutatePath)
	router.MethodNotAllowedHandler = p.refuse(http.StatusMethodNotAllowed, "method not allowed; expected POST")
	return router
}

func (p *Provider) refuse(status int, reason string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.options.Metrics.requests.WithLabelValues("none", "bad_request").Inc()
		p.write(w, status, systemError(reason))
	})
}

// An operation answers the distinct keys of a request in their order.
type operation func(ctx context.Context, g *generation, keys []string) []answer

// An answer is what is known of one key: a verdict (verify), a pinned reference or an error for the item (mutate), or
// else a problem.
type answer struct {
	key     string
	verdict *verdict       // beside a problem it is for the log alone
	pinned  string         // the item's value
	refusal string         // the item's error
	problem *ratify.Error  // why it could not be told
	report  *ratify.Report // for the log, where there is no verdict
	cached  bool
}

// serve is the way of every request: bounds, decoding, the deadline, the operation, the answer.
func (p *Provider) serve(name string, timeout time.Duration, op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		status, result := http.StatusOK, "ok"
		var release func()
		response := p.contained(func() *externaldata.ProviderResponse {
			keys, err := p.read(w, r, began.Add(timeout))
			var bad *badRequest
			if errors.As(err, &bad) {
				status, result = bad.status, "bad_request"
				return p.refuseRequest(name, bad)
			}
			answers := p.answer(ctx, op, keys)
			if release = p.room(ctx); release == nil {
				answers = decline(keys, &ratify.Error{Code: ratify.Overloaded, Message: "too many answers are being written"})
			}
			requestID := ratify.NewTraceID()
			p.record(name, requestID, answers, time.Since(began))
			return compose(answers, requestID)
		})
		if release != nil {
			defer release()
		}
		if response.Response.SystemError != "" && result == "ok" {
			result = "system_error"
		}
		p.options.Metrics.requests.WithLabelValues(name, result).Inc()
		p.write(w, status, response)
		p.options.Metrics.latency.WithLabelValues(name).Observe(time.Since(began).Seconds())
	}
}

// contained answers a panic as a systemError.
func (p *Provider) contained(answer func() *externaldata.ProviderResponse) (response *externaldata.ProviderResponse) {
	defer func() {
		if value := recover(); value != nil {
			trace := ratify.NewTraceID()
			p.options.Metrics.panics.Inc()
			p.options.Log.Error("panic in a request", zap.String("traceID", trace), panicField(value), zap.ByteString("stack", debug.Stack()))
			response = systemError(string(ratify.Internal) + ": " + ratify.Internal.Info().Message + " (trace " + trace + ")")
		}
	}()
	return answer()
}

// read bounds and decodes the request. Errors are *badRequest.
func (p *Provider) read(w http.ResponseWriter, r *http.Request, deadline time.Time) ([]string, error) {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return nil, &badRequest{http.StatusUnsupportedMediaType, "the content type is not application/json"}
	}
	// For the body alone: once it is read the server lifts the deadline. Where none can be set, its own bound holds.
	_ = http.NewResponseController(w).SetReadDeadline(deadline)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &badRequest{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d bytes", maxBodyBytes)}
	case err != nil:
		return nil, &badRequest{http.StatusBadRequest, "the request could not be read whole"}
	}
	keys, unknown, err := decodeRequest(body)
	p.options.Metrics.unknownFields.Add(float64(unknown))
	if err != nil {
		return nil, &badRequest{http.StatusBadRequest, err.Error()}
	}
	return distinct(keys), nil
}

func distinct(keys []string) []string {
	seen := make(map[string]bool, len(keys))
	unique := make([]string, 0, len(keys))
	for _, key := range keys {
		if !seen[key] {
			seen[key] = true
			unique = append(unique, key)
		}
	}
	return unique
}

// refuseRequest answers a request that breaks the protocol, and leaves a record of it.
func (p *Provider) refuseRequest(name string, bad *badRequest) *externaldata.ProviderResponse {
	requestID := ratify.NewTraceID()
	p.options.Log.Warn("bad request", zap.String("operation", name), zap.String("reason", bad.reason), zap.String("requestID", requestID))
	return systemError(bad.reason + " (request " + requestID + ")")
}

// room waits for one of the places for answers in memory. Without one until the deadline it returns nil.
func (p *Provider) room(ctx context.Context) (release func()) {
	select {
	case p.writers <- struct{}{}:
		return func() { <-p.writers }
	default:
	}
	select {
	case p.writers <- struct{}{}:
		return func() { <-p.writers }
	case <-ctx.Done():
		return nil
	}
}

// answer runs the operation under the configuration in force, and again if that changed while it ran.
func (p *Provider) answer(ctx context.Context, op operation, keys []string) []answer {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return decline(keys, &ratify.Error{Code: ratify.Overloaded})
	}
	g := p.current.Load()
	if g == nil {
		return decline(keys, &ratify.Error{Code: ratify.Internal, Message: "no configuration is loaded yet", Remedy: "try again"})
	}
	answers := op(ctx, g, keys)
	for g.stale() {
		if ctx.Err() != nil {
			return decline(keys, &ratify.Error{Code: ratify.Deadline, Message: "the configuration changed while the image was verified", Remedy: "try again"})
		}
		g = p.current.Load()
		answers = op(ctx, g, keys)
	}
	return answers
}

// decline answers all keys with one problem.
func decline(keys []string, problem *ratify.Error) []answer {
	answers := make([]answer, len(keys))
	for i, key := range keys {
		answers[i] = answer{key: key, problem: problem}
	}
	return answers
}

// imageIn is what a person calls the key: the image, without the namespace that a tenant's key begins with.
func imageIn(key string) string {
	// A host that is an IPv6 address is in brackets, too.
	if namespace, image, ok := strings.Cut(key, "]"); ok && strings.HasPrefix(namespace, "[") && !strings.Contains(namespace, ":") {
		return shown(image)
	}
	return shown(key)
}

// compose makes one response of the answers: all of them as items, or a systemError if one could not be told.
func compose(answers []answer, requestID string) *externaldata.ProviderResponse {
	var refused, unknown []string
	for _, a := range answers {
		switch {
		case a.problem != nil:
			unknown = append(unknown, fmt.Sprintf("%s: %s: %s. %s", imageIn(a.key), a.problem.Code, a.problem.UserMessage(), a.problem.UserRemedy()))
		case a.refusal != "":
			refused = append(refused, imageIn(a.key)+": "+a.refusal)
		case a.verdict != nil && !a.verdict.report.IsSuccess:
			refused = append(refused, fmt.Sprintf("%s: %s: %s", imageIn(a.key), a.verdict.report.Code, a.verdict.report.Message))
		}
	}
	if len(unknown) > 0 {
		done := ""
		if len(answers) > 1 {
			done = fmt.Sprintf("%d of %d images could not be told: ", len(unknown), len(answers))
		}
		if len(refused) > 0 {
			done += enumerate(refused) + "; "
		}
		return systemError(done + enumerate(unknown) + " (request " + requestID + ")")
	}
	response := newResponse()
	response.Response.Items = make([]externaldata.Item, 0, len(answers))
	for _, a := range answers {
		item := externaldata.Item{Key: a.key, Error: a.refusal}
		switch {
		case a.verdict != nil:
			item.Value = a.verdict.value(a.key)
		case a.pinned != "":
			item.Value = a.pinned
		}
		response.Response.Items = append(response.Response.Items, item)
	}
	return response
}

// write writes the response whole, or another one that says that it could not.
func (p *Provider) write(w http.ResponseWriter, status int, response *externaldata.ProviderResponse) {
	body, err := json.Marshal(response)
	if err != nil {
		p.options.Log.Error("encode a response", zap.Error(err))
		body, _ = json.Marshal(systemError(string(ratify.Internal))) // strings alone always have a JSON form
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that is gone needs no answer
}
