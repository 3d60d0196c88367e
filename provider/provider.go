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
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// maxWaiting bounds the images that are waited for: each takes a goroutine, 8 KiB at most. It is half of what 64 serving threads
// of Gatekeeper could ask for at once. Of what is known nobody waits, and it has no such bound.
const maxWaiting = 2048

// maxWriters bounds the answers in memory at the same time: until one is written its verdicts are shared. An answer that
// an attacker made as long as can be takes 3 MiB while it is written (maxReportBytes): 48 need 144 MiB.
const maxWriters = 48

// maxQueued bounds those who wait to write an answer. One takes a millisecond or two of a processor at most, so the last of them
// waits for half a second on one; who comes beyond is told at once.
const maxQueued = 256

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
	waiting *shares       // one for each image that somebody waits for
	earned  *earnings     // by registries, under any configuration
	writers chan struct{} // one for each answer in memory
	queued  atomic.Int64  // who waits for one of these
	buffers buffers
}

// New returns a Provider without a configuration; see Install.
func New(options Options) *Provider {
	p := &Provider{options: options, earned: newEarnings(), writers: make(chan struct{}, maxWriters)}
	p.waiting = newShares(maxWaiting, 0, p.earned)
	options.Metrics.watchCache(func() cache.Stats {
		if g := p.current.Load(); g != nil {
			return g.cached()
		}
		return cache.Stats{}
	})
	return p
}

// Install puts a configuration into force: requests that arrive from now on see nothing of the one before.
func (p *Provider) Install(engine *ratify.Engine, settings *config.File) {
	if before := p.current.Swap(newGeneration(engine, settings, p.options, p.earned)); before != nil {
		before.retire()
	}
	p.options.Metrics.configLoaded.SetToCurrentTime()
	p.options.Metrics.lastReload.WithLabelValues("configuration").Set(1)
}

// Ready tells whether there is a configuration.
func (p *Provider) Ready() bool { return p.current.Load() != nil }

// Handler serves the two operations and answers everything else, in the protocol's own form. A path is compared as it is:
// if it were cleaned, the answer would be a redirect, which is no ProviderResponse.
func (p *Provider) Handler() http.Handler {
	operations := map[string]http.Handler{
		VerifyPath: p.serve("verify", p.options.VerifyTimeout, p.verify),
		MutatePath: p.serve("mutate", p.options.MutateTimeout, p.mutate),
	}
	noPath := p.refuse(http.StatusNotFound, "no such path; expected "+VerifyPath+" or "+MutatePath)
	noMethod := p.refuse(http.StatusMethodNotAllowed, "method not allowed; expected POST")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		operation, ok := operations[r.URL.Path]
		switch {
		case !ok:
			noPath.ServeHTTP(w, r)
		case r.Method != http.MethodPost:
			noMethod.ServeHTTP(w, r)
		default:
			operation.ServeHTTP(w, r)
		}
	})
}

func (p *Provider) refuse(status int, reason string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.options.Metrics.requests.WithLabelValues("none", resultBadRequest).Inc()
		send(w, status, systemError(reason))
	})
}

// An operation answers the distinct keys of a request in their order.
type operation func(ctx context.Context, g *generation, keys []string) []answer

// An answer is what is known of one key: a verdict (verify), a pinned reference or an error for the item (mutate), or
// else a problem.
type answer struct {
	key     string
	verdict *verdict       // beside a problem it is for the log alone
	plain   bool           // the key is known to be plain, see isPlain
	pinned  string         // the item's value
	refusal string         // the item's error
	problem *ratify.Error  // why it could not be told
	report  *ratify.Report // for the log, where there is no verdict
	cached  bool
}

// A service is one operation as it is served.
type service struct {
	*Provider
	name    string
	timeout time.Duration
	run     operation
	ok      prometheus.Counter // requests that were answered with items
	latency prometheus.Observer
}

// An exchange is one request and its answer.
type exchange struct {
	*service
	began  time.Time
	ctx    *deadline
	status int
	result string        // for the metric
	answer *bytes.Buffer // a ProviderResponse
	placed bool          // whether the answer has one of the places for answers in memory
}

func (p *Provider) serve(name string, timeout time.Duration, op operation) http.Handler {
	m := p.options.Metrics
	return &service{
		Provider: p, name: name, timeout: timeout, run: op,
		ok: m.requests.WithLabelValues(name, resultOK), latency: m.latency.WithLabelValues(name),
	}
}

// The results of requests, for the metric.
const (
	resultOK          = "ok"
	resultBadRequest  = "bad_request"
	resultSystemError = "system_error"
)

// ServeHTTP is the way of every request: bounds, decoding, the deadline, the operation, the answer.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	x := &exchange{
		service: s, began: began, ctx: withDeadline(r.Context(), began.Add(s.timeout)),
		status: http.StatusOK, result: resultOK, answer: s.buffers.get(),
	}
	defer x.end()
	x.contained(w, r)
	if x.result == resultOK {
		s.ok.Inc()
	} else {
		s.options.Metrics.requests.WithLabelValues(s.name, x.result).Inc()
	}
	send(w, x.status, x.answer.Bytes())
	s.latency.Observe(time.Since(began).Seconds())
}

// end gives back what the exchange took.
func (x *exchange) end() {
	x.ctx.cancel()
	x.buffers.put(x.answer)
	if x.placed {
		<-x.writers
	}
}

// contained answers a panic as a systemError.
func (x *exchange) contained(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if value := recover(); value != nil {
			trace := ratify.NewTraceID()
			x.options.Metrics.panics.Inc()
			x.options.Log.Error("panic in a request", zap.String("traceID", trace), panicField(value), zap.ByteString("stack", debug.Stack()))
			x.fail(resultSystemError, string(ratify.Internal)+": "+ratify.Internal.Info().Message+" (trace "+trace+")")
		}
	}()
	x.reply(w, r)
}

func (x *exchange) reply(w http.ResponseWriter, r *http.Request) {
	keys, bad := x.read(w, r, x.ctx.until)
	if bad != nil {
		x.refuseRequest(bad)
		return
	}
	answers := x.Provider.answer(x.ctx, x.runPlaced, keys)
	requestID := newRequestID()
	x.record(x.name, requestID, answers, time.Since(x.began))
	x.compose(answers, requestID)
}

// runPlaced is the operation and a place for its answer, for which it may wait: until then the request is under way, and
// another configuration may come into force.
func (x *exchange) runPlaced(ctx context.Context, g *generation, keys []string) []answer {
	answers := x.run(ctx, g, keys)
	if x.placed = x.placed || x.room(ctx); !x.placed {
		return decline(keys, &ratify.Error{Code: ratify.Overloaded, Message: "too many answers are being written"})
	}
	return answers
}

// fail makes a systemError the whole answer.
func (x *exchange) fail(result, text string) {
	x.result = result
	x.answer.Reset()
	x.answer.Write(systemError(text))
}

// read bounds and decodes the request.
func (p *Provider) read(w http.ResponseWriter, r *http.Request, deadline time.Time) ([]string, *badRequest) {
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, &badRequest{http.StatusUnsupportedMediaType, "the content type is not application/json"}
	}
	// For the body alone: once it is read the server lifts the deadline. Where none can be set, its own bound holds.
	_ = http.NewResponseController(w).SetReadDeadline(deadline)
	body := p.buffers.get()
	defer p.buffers.put(body)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
	case errors.As(err, &tooLarge):
		return nil, &badRequest{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d bytes", maxBodyBytes)}
	default:
		return nil, &badRequest{http.StatusBadRequest, "the request could not be read whole"}
	}
	var remembered *parsedKeys
	if g := p.current.Load(); g != nil {
		remembered = g.keys
	}
	keys, unknown, err := remembered.decodeRequest(body.Bytes())
	if unknown > 0 {
		p.options.Metrics.unknownFields.Add(float64(unknown))
	}
	if err != nil {
		return nil, &badRequest{http.StatusBadRequest, err.Error()}
	}
	return distinct(keys), nil
}

func isJSON(header string) bool {
	if header == contentType[0] {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(header)
	return err == nil && mediaType == contentType[0]
}

// refuseRequest answers a request that breaks the protocol, and leaves a record of it.
func (x *exchange) refuseRequest(bad *badRequest) {
	requestID := newRequestID()
	x.options.Log.Warn("bad request", zap.String("operation", x.name), zap.String("reason", bad.reason), zap.String("requestID", requestID))
	x.status = bad.status
	x.fail(resultBadRequest, bad.reason+" (request "+requestID+")")
}

// room waits for one of the places for answers in memory. Without one until the deadline, and at once where too many wait, it
// returns false.
func (p *Provider) room(ctx context.Context) bool {
	select {
	case p.writers <- struct{}{}:
		return true
	default:
	}
	defer p.queued.Add(-1)
	if p.queued.Add(1) > maxQueued {
		return false
	}
	select {
	case p.writers <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer runs the operation under the configuration in force, and again if that changed while it ran.
func (p *Provider) answer(ctx context.Context, op operation, keys []string) []answer {
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
func (x *exchange) compose(answers []answer, requestID string) {
	if slices.ContainsFunc(answers, func(a answer) bool { return a.problem != nil }) {
		x.fail(resultSystemError, explain(answers)+" (request "+requestID+")")
		return
	}
	writeItems(x.answer, answers)
}

// explain says which images could not be told and why, after those that are refused.
func explain(answers []answer) string {
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
	text := ""
	if len(answers) > 1 {
		text = fmt.Sprintf("%d of %d images could not be told: ", len(unknown), len(answers))
	}
	if len(refused) > 0 {
		text += enumerate(refused) + "; "
	}
	return text + enumerate(unknown)
}

// send writes the response whole.
func send(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = contentType
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that is gone needs no answer
}

// contentType is the header's value, which is the same for all answers.
var contentType = []string{"application/json"}
