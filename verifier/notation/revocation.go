package notation

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/netguard"
)

const (
	// maxOCSPBytes bounds an OCSP response: those seen have 0.5 to 4 KiB, with the responder's certificate.
	maxOCSPBytes = 20 << 10
	// maxCRLBytes bounds a list: at 40 bytes an entry it has room for 100,000 revoked certificates.
	maxCRLBytes = 4 << 20
	// maxServers bounds the addresses that one certificate names: one is usual, two are for redundancy.
	maxServers = 4
	// maxFetches bounds requests under way in the whole process; each may hold maxCRLBytes. maxHostFetches leaves half of the
	// places to others where one host answers nothing, and all of its certificates are asked about.
	maxFetches, maxHostFetches = 8, maxFetches / 2
	// clockSkew is how far a responder's clock may be ahead of ours.
	clockSkew = 5 * time.Minute
	// staleAfter bounds how late a revocation is seen where somebody asks all the time: an answer that is older is asked
	// for again, and serves on as long as it is valid if that fails.
	staleAfter = time.Hour

	defaultTimeout     = 5 * time.Second
	defaultMaxAge      = 24 * time.Hour
	defaultFailureAge  = 10 * time.Second
	defaultMaxBytes    = 32 << 20
	defaultMaxEntries  = 10_000
	maxHeaderBytes     = 16 << 10
	idleConnections    = 16
	connectionsPerHost = 4
)

// RevocationOptions bound what revocation checking may use. Zero values are the defaults.
type RevocationOptions struct {
	// Timeout bounds one request to a responder, whatever the callers' deadlines: 5 s.
	Timeout time.Duration
	// MaxAge bounds how long an answer is kept, if it is valid for longer: 24 h.
	MaxAge time.Duration
	// FailureAge is how long it is remembered that a responder could not answer: 10 s.
	FailureAge time.Duration
	// MaxBytes and MaxEntries bound the answers that are kept: 32 MiB, 10,000.
	MaxBytes   int64
	MaxEntries int
}

// Revocation finds out whether certificates are revoked, by OCSP (RFC 6960) and CRLs (RFC 5280). It keeps answers until
// their next update, asks once for all who want the same, and is meant to be shared by the whole process. It is safe
// for concurrent use. It asks whoever the certificate names: whether the certificate may cause that is the caller's
// to know.
type Revocation struct {
	options RevocationOptions
	public  *http.Client
	private *http.Client
	group   singleflight.Group
	slots   chan struct{}
	hosts   hostPlaces
	now     func() time.Time
	kept    *answers
}

// NewRevocation makes a Revocation.
func NewRevocation(options RevocationOptions) *Revocation {
	setDefault(&options.Timeout, defaultTimeout)
	setDefault(&options.MaxAge, defaultMaxAge)
	setDefault(&options.FailureAge, defaultFailureAge)
	setDefault(&options.MaxBytes, defaultMaxBytes)
	setDefault(&options.MaxEntries, defaultMaxEntries)
	return &Revocation{
		options: options,
		public:  newClient(false),
		private: newClient(true),
		slots:   make(chan struct{}, maxFetches),
		hosts:   hostPlaces{byHost: map[string]*hostPlace{}},
		now:     time.Now,
		kept:    &answers{maxBytes: options.MaxBytes, maxEntries: options.MaxEntries, byKey: map[string]*list.Element{}, byAge: list.New()},
	}
}

func setDefault[T int | int64 | time.Duration](value *T, fallback T) {
	if *value <= 0 {
		*value = fallback
	}
}

// newClient makes a client that goes where the certificate says and nowhere else: no proxy, no redirect, no compression.
func newClient(allowPrivate bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            netguard.DialContext(allowPrivate),
			DisableCompression:     true,
			MaxIdleConns:           idleConnections,
			MaxConnsPerHost:        connectionsPerHost,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close lets idle connections go. Answers are kept.
func (r *Revocation) Close() {
	r.public.CloseIdleConnections()
	r.private.CloseIdleConnections()
}

// An answer is what one responder, or one list, said, checked; or the reason why it is not known.
type answer struct {
	single     *singleStatus
	list       *revokedList
	bytes      int64
	thisUpdate time.Time
	until      time.Time // not used from here on
	refresh    time.Time // asked for again from here on
	err        error
}

// ask returns the kept answer, or joins the request under way, or makes it. Only the caller's own deadline ends its wait.
// An answer that is due to be asked for again is returned nevertheless, while that happens beside. The address is the one
// that is asked; its host has places of its own.
func (r *Revocation) ask(ctx context.Context, key, address string, fetch func(context.Context) (answer, error)) (answer, error) {
	now := r.now()
	old, ok := r.kept.get(key, now)
	if ok && now.Before(old.refresh) {
		return old, old.err
	}
	if !ok {
		ratify.Progress(ctx, "asking whether certificates are revoked")
	}
	done := r.group.DoChan(key, func() (any, error) {
		if a, ok := r.kept.get(key, r.now()); ok && r.now().Before(a.refresh) {
			return a, nil // it came while this call was on its way
		}
		return r.refresh(key, address, old, fetch), nil
	})
	if ok && old.err == nil {
		return old, nil
	}
	select {
	case <-ctx.Done():
		return answer{}, ctx.Err()
	case result := <-done:
		a := result.Val.(answer)
		return a, a.err
	}
}

// refresh fetches under a deadline of its own, and keeps what came. An old answer that is still valid outlives a failure
// to get a new one, and a replayed older one.
func (r *Revocation) refresh(key, address string, old answer, fetch func(context.Context) (answer, error)) answer {
	ctx, cancel := context.WithTimeout(context.Background(), r.options.Timeout)
	defer cancel()
	a, err := r.fetch(ctx, address, fetch)
	now := r.now()
	stillGood := old.err == nil && now.Before(old.until)
	switch {
	case stillGood && (err != nil || a.thisUpdate.Before(old.thisUpdate)):
		a = old
		a.refresh = earliest(now.Add(r.options.FailureAge), old.until)
	case err != nil:
		end := now.Add(r.options.FailureAge)
		a = answer{err: err, until: end, refresh: end}
	default:
		a.until = earliest(a.until, now.Add(r.options.MaxAge))
		a.refresh = earliest(a.until, now.Add(staleAfter))
	}
	r.kept.put(key, a)
	return a
}

// fetch waits for its turn and contains panics, which would otherwise end the process: nobody is above it on this stack.
func (r *Revocation) fetch(ctx context.Context, address string, fetch func(context.Context) (answer, error)) (a answer, err error) {
	defer func() {
		if value := recover(); value != nil {
			a, err = answer{}, fmt.Errorf("panic: %v", value)
		}
	}()
	leave, err := r.hosts.enter(ctx, address)
	if err != nil {
		return answer{}, err
	}
	defer leave()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return answer{}, fmt.Errorf("too many requests under way: %w", ctx.Err())
	}
	return fetch(ctx)
}

// hostPlaces bound the requests under way to each host.
type hostPlaces struct {
	mu     sync.Mutex
	byHost map[string]*hostPlace
}

type hostPlace struct {
	taken chan struct{}
	users int // who have a place, or wait for one
}

// enter waits for a place at the host of an address, and returns what gives it back. The error is the context's end.
func (h *hostPlaces) enter(ctx context.Context, address string) (leave func(), err error) {
	host := address
	if u, err := url.Parse(address); err == nil {
		host = strings.ToLower(u.Hostname())
	}
	h.mu.Lock()
	place, ok := h.byHost[host]
	if !ok {
		place = &hostPlace{taken: make(chan struct{}, maxHostFetches)}
		h.byHost[host] = place
	}
	place.users++
	h.mu.Unlock()
	gone := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if place.users--; place.users == 0 {
			delete(h.byHost, host)
		}
	}
	select {
	case place.taken <- struct{}{}:
		return func() { <-place.taken; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, fmt.Errorf("too many requests under way to %s: %w", ratify.Quote(host), ctx.Err())
	}
}

// do sends one request and reads at most limit bytes of a 200.
func (r *Revocation) do(req *http.Request, allowPrivate bool, limit int64) ([]byte, error) {
	client := r.public
	if allowPrivate {
		client = r.private
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: status %d", req.Method, req.URL.Host, resp.StatusCode)
	}
	data, err := content.Read(resp.Body, limit)
	switch {
	case errors.Is(err, content.ErrTooLarge):
		return nil, fmt.Errorf("%s %s: more than %d bytes", req.Method, req.URL.Host, limit)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", req.Method, req.URL.Host, err)
	}
	return data, nil
}

// checkURL accepts plain HTTP alone: answers are signed, and HTTPS would ask for the status of yet another certificate
// (RFC 5280 section 8).
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("malformed address %s", ratify.Quote(text))
	case !strings.EqualFold(u.Scheme, "http") || u.Host == "" || u.User != nil:
		return fmt.Errorf("address %s is not plain http", ratify.Quote(text))
	}
	return nil
}

// checkUpdates refuses answers that are not of now. One without a next update never ends, so it is refused as well.
func checkUpdates(now, thisUpdate, nextUpdate time.Time) error {
	switch {
	case nextUpdate.IsZero():
		return errors.New("the answer names no next update")
	case !now.Before(nextUpdate):
		return fmt.Errorf("the answer is stale: its next update was due %s", timeText(nextUpdate))
	case thisUpdate.After(now.Add(clockSkew)):
		return fmt.Errorf("the answer is of the future, %s", timeText(thisUpdate))
	}
	return nil
}

// earliest returns the earliest of the times that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// answers keeps answers within bounds; what was not used for longest goes first.
type answers struct {
	maxBytes   int64
	maxEntries int

	mu    sync.Mutex
	byKey map[string]*list.Element
	byAge *list.List // of *keptAnswer, the last used in front
	bytes int64
}

type keptAnswer struct {
	key string
	answer
}

// entryBytes is what an entry takes beside its content: its key, the list's element, the map's slot.
const entryBytes = 512

func (k *keptAnswer) weight() int64 { return k.bytes + entryBytes }

func (c *answers) get(key string, now time.Time) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[key]
	if !ok {
		return answer{}, false
	}
	kept := element.Value.(*keptAnswer)
	if !now.Before(kept.until) {
		c.remove(element)
		return answer{}, false
	}
	c.byAge.MoveToFront(element)
	return kept.answer, true
}

func (c *answers) put(key string, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.byKey[key]; ok {
		c.remove(element)
	}
	kept := &keptAnswer{key, a}
	if kept.weight() > c.maxBytes {
		return
	}
	c.byKey[key] = c.byAge.PushFront(kept)
	c.bytes += kept.weight()
	for c.bytes > c.maxBytes || len(c.byKey) > c.maxEntries {
		c.remove(c.byAge.Back())
	}
}

func (c *answers) remove(element *list.Element) {
	kept := element.Value.(*keptAnswer)
	c.byAge.Remove(element)
	delete(c.byKey, kept.key)
	c.bytes -= kept.weight()
}
