package matrix

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A fault is one way in which a server is not what it should be.
type fault struct {
	name string
	// answer answers a request of the step; line befalls connections. At most one of the two is set.
	answer func(x *exchange)
	line   *lineFault
	// locked has the registry ask for a token.
	locked bool
	// state is how a responder answers, where the fault is in what it says and signs.
	state notationtest.State
	// quick is whether the fault is in the slice for each class.
	quick bool
	want  wants
}

// A lineFault is of a connection: nobody listens, or take does something else with it than to serve it, or TLS is not as it
// should be.
type lineFault struct {
	gone bool
	take func(net.Conn)
	tls  func(*world, net.IP) (*tls.Config, error)
}

// wants are what must be answered: at the registry's steps and its token server, and where revocation is asked for; at
// some steps something else. A step with a reason in empty has no cell.
type wants struct {
	registry, revocation []outcome
	at                   map[step][]outcome
	empty                map[step]string
}

// poison is what hostile servers write into what they say of errors, where nobody may repeat it.
const poison = "\x1b[31mplease obey"

func is(c class, codes ...string) []outcome {
	var outcomes []outcome
	for _, code := range codes {
		outcomes = append(outcomes, outcome{c, code})
	}
	return outcomes
}

// either is more than one right outcome.
func either(outcomes ...[]outcome) (all []outcome) {
	for _, o := range outcomes {
		all = append(all, o...)
	}
	return all
}

// The outcomes that many faults have in common.
func unavailable() []outcome { return is(unknown, "REGISTRY_UNAVAILABLE") }
func invalid() []outcome     { return is(unknown, "REGISTRY_INVALID") }
func late() []outcome        { return is(unknown, "DEADLINE") }
func unrevoked() []outcome   { return is(unknown, "REVOCATION_UNAVAILABLE") }
func admitted() []outcome    { return is(verified, "VERIFIED") }
func notAllowed() []outcome  { return is(refused, "REGISTRY_NOT_ALLOWED") }
func tooMuch() []outcome     { return is(refused, "LIMIT_EXCEEDED") }

// gibibyte is what is sent to whoever reads on; a program that has a bound is gone long before.
const gibibyte = 1 << 30

// The reasons for cells that are empty.
const (
	onlyLists     = "it is about lists"
	onlyRegistry  = "it is about what registries describe or serve by digest"
	noDigest      = "nothing is described by a digest there"
	plainByDesign = "OCSP and CRLs are read over plain HTTP alone, for their answers are signed"
)

// outages are the faults of P9: no answer, whatever is asked.
func outages() []fault {
	silence := wants{registry: late(), revocation: late()}
	return []fault{
		{name: "refused", quick: true, line: &lineFault{gone: true}, want: wants{registry: unavailable(), revocation: unrevoked()}},
		{name: "black hole", quick: true, line: &lineFault{take: func(net.Conn) {}}, want: silence},
		{name: "503", quick: true, answer: status(http.StatusServiceUnavailable), want: wants{registry: unavailable(), revocation: unrevoked()}},
		{name: "429", quick: true, answer: status(http.StatusTooManyRequests), want: wants{registry: is(unknown, "RATE_LIMITED"), revocation: unrevoked()}},
		{name: "reset at once", line: &lineFault{take: reset}, want: wants{registry: unavailable(), revocation: unrevoked()}},
	}
}

// connectionFaults are about the way to a server, and how it ends.
func connectionFaults() []fault {
	silence := wants{registry: late(), revocation: late()}
	cut := wants{registry: unavailable(), revocation: unrevoked()}
	return []fault{
		{name: "reset before the answer", answer: func(x *exchange) { x.raw(func(c net.Conn) error { reset(c); return nil }) }, want: cut},
		{name: "reset in mid body", quick: true, answer: cutBody, want: cut},
		{name: "no answer", answer: func(x *exchange) { x.wait() }, want: silence},
		{name: "headers, then silence", quick: true, answer: headersAlone, want: silence},
		{name: "one byte a second", quick: true, answer: trickle, want: silence},
		{name: "not HTTP", answer: func(x *exchange) {
			x.raw(func(c net.Conn) error { _, err := io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n"); return err })
		}, want: cut},
		{name: "a MiB of headers", answer: longHeaders, want: cut},
		{name: "reset once, then back", quick: true, answer: once(func(x *exchange) { x.raw(func(c net.Conn) error { reset(c); return nil }) }),
			want: wants{registry: admitted(), revocation: either(admitted(), unrevoked())}},
		{name: "503 once, then back", answer: once(status(http.StatusServiceUnavailable)),
			want: wants{registry: admitted(), revocation: unrevoked()}},
	}
}

// tlsFaults are of servers that are not who they say.
func tlsFaults() []fault {
	plain := map[step]string{ocsp: plainByDesign, crl: plainByDesign, timestamp: plainByDesign}
	want := wants{registry: unavailable(), empty: plain}
	return []fault{
		{name: "expired certificate", quick: true, want: want, line: &lineFault{tls: func(w *world, ip net.IP) (*tls.Config, error) {
			return withCertificate(w.ca, ip, time.Now().Add(-time.Hour))
		}}},
		{name: "foreign certificate", want: want, line: &lineFault{tls: func(w *world, ip net.IP) (*tls.Config, error) {
			return withCertificate(w.foreign, ip, time.Now().Add(lifetime))
		}}},
		{name: "wrong-name certificate", want: want, line: &lineFault{tls: func(w *world, _ net.IP) (*tls.Config, error) {
			return withCertificate(w.ca, net.IPv4(127, 0, 0, 9), time.Now().Add(lifetime))
		}}},
		{name: "TLS 1.1", want: want, line: &lineFault{tls: func(w *world, ip net.IP) (*tls.Config, error) {
			c, err := withCertificate(w.ca, ip, time.Now().Add(lifetime))
			if err == nil {
				c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			}
			return c, err
		}}},
	}
}

func withCertificate(a *authority, ip net.IP, ends time.Time) (*tls.Config, error) {
	cert, err := a.issue(ip, ends)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}, nil
}

// statusFaults are answers by which a server says that it will not, or cannot.
func statusFaults() []fault {
	broken := wants{registry: unavailable(), revocation: unrevoked()}
	refusal := wants{registry: is(unknown, "REGISTRY_AUTH"), revocation: unrevoked()}
	strange := wants{registry: invalid(), revocation: unrevoked()}
	return []fault{
		{name: "500", answer: status(http.StatusInternalServerError), want: broken},
		{name: "503 with Retry-After 3600", answer: later(http.StatusServiceUnavailable), want: broken},
		{name: "429 with Retry-After 3600", quick: true, answer: later(http.StatusTooManyRequests), want: wants{registry: is(unknown, "RATE_LIMITED"), revocation: unrevoked()}},
		{name: "401", answer: status(http.StatusUnauthorized), want: refusal},
		{name: "403", answer: status(http.StatusForbidden), want: refusal},
		{name: "404", quick: true, answer: status(http.StatusNotFound), want: wants{
			registry: invalid(), revocation: unrevoked(),
			at: map[step][]outcome{
				resolve: is(refused, "SUBJECT_NOT_FOUND"), manifest: is(refused, "SUBJECT_NOT_FOUND"),
				// The fallback tag is looked for then, and nothing is under it.
				referrers: is(refused, "NO_REFERRERS"),
			},
		}},
		{name: "204", answer: status(http.StatusNoContent), want: strange},
		{name: "206", answer: func(x *exchange) { x.send(http.StatusPartialContent, "", x.right.body[:len(x.right.body)/2]) }, want: strange},
		{name: "500 with a MiB of escape codes", quick: true, answer: poisoned(http.StatusInternalServerError), want: broken},
		{name: "403 with a MiB of escape codes", answer: poisoned(http.StatusForbidden), want: refusal},
	}
}

// bodyFaults are answers that are not what was asked for.
func bodyFaults() []fault {
	wrong := wants{registry: invalid(), revocation: unrevoked(), at: map[step][]outcome{referrers: either(invalid(), unavailable()), token: either(invalid(), unavailable())}}
	// What the list holds within the bound is good, and enough.
	huge := wants{registry: tooMuch(), revocation: unrevoked(), at: map[step][]outcome{referrers: admitted(), token: either(invalid(), unavailable())}}
	return []fault{
		{name: "truncated", quick: true, answer: func(x *exchange) { x.send(http.StatusOK, "", x.right.body[:len(x.right.body)/2]) }, want: wrong},
		{name: "empty", answer: func(x *exchange) { x.send(http.StatusOK, "", nil) }, want: wrong},
		{name: "HTML", quick: true, answer: func(x *exchange) { x.send(http.StatusOK, "text/html", []byte("<html><body>Sign in</body></html>")) }, want: wrong},
		{name: "mislabelled", answer: func(x *exchange) { x.send(http.StatusOK, "text/html", x.right.body) }, want: wants{
			// What has the digest that was asked for is right, whatever its label.
			registry: admitted(), revocation: admitted(), at: map[step][]outcome{referrers: invalid(), resolve: either(invalid(), admitted(), is(refused, "SUBJECT_INVALID")), manifest: either(invalid(), admitted(), is(refused, "SUBJECT_INVALID"))},
		}},
		{name: "gzip, not asked for", quick: true, answer: gzipped, want: wants{registry: invalid(), revocation: unrevoked()}},
		{name: "10 B declared, a GiB sent", answer: func(x *exchange) { x.declare(10, gibibyte) }, want: wrong},
		{name: "a GiB declared, 10 B sent", answer: func(x *exchange) { x.declare(gibibyte, 10) }, want: wants{
			registry: either(tooMuch(), late()), revocation: either(unrevoked(), late()), at: map[step][]outcome{referrers: late(), token: late()},
		}},
		{name: "a GiB without a length", quick: true, answer: endless, want: huge},
	}
}

// digestFaults are other content than what was listed.
func digestFaults() []fault {
	notThere := map[step]string{token: noDigest, ocsp: noDigest, crl: noDigest, timestamp: noDigest}
	return []fault{
		{name: "other body under the right header", quick: true, answer: otherBody, want: wants{
			registry: invalid(), empty: notThere,
			at: map[step][]outcome{
				// A tag may move; what it is on now is not signed.
				resolve:   is(refused, "NO_REFERRERS"),
				referrers: is(refused, "SUBJECT_MISMATCH"),
			},
		}},
		{name: "swapped after listing", answer: otherBody, want: wants{
			registry: invalid(), empty: plus(notThere, map[step]string{resolve: onlyRegistry, manifest: onlyRegistry, referrers: onlyRegistry}),
		}},
		{name: "layers and manifests in one", answer: rewritten(func(m map[string]any) { m["manifests"] = []any{} }), want: wants{
			registry: invalid(),
			empty:    plus(notThere, map[step]string{referrers: onlyRegistry, blob: onlyRegistry}),
			at:       map[step][]outcome{resolve: either(is(refused, "SUBJECT_INVALID", "NO_REFERRERS"))},
		}},
	}
}

// listFaults are lists of referrers that lie, or never end.
func listFaults() []fault {
	none := map[step]string{}
	for _, s := range []step{resolve, manifest, signature, blob, token, ocsp, crl, timestamp} {
		none[s] = onlyLists
	}
	list := func(outcomes ...[]outcome) wants {
		return wants{at: map[step][]outcome{referrers: either(outcomes...)}, empty: none}
	}
	ignored := admitted()
	return []fault{
		{name: "a page that follows itself", quick: true, answer: nextPage(func(x *exchange) string { return x.r.URL.RequestURI() }, true), want: list(ignored, tooMuch())},
		{name: "pages without end", answer: nextPage(func(x *exchange) string { return fmt.Sprintf("%s?page=%d", x.r.URL.Path, x.nth) }, false), want: list(tooMuch())},
		{name: "next page on another host", quick: true, answer: nextPage(func(x *exchange) string { return "https://" + x.host.elsewhere + x.r.URL.Path }, false), want: list(notAllowed())},
		{name: "next page over http", answer: nextPage(func(x *exchange) string { return "http://" + x.r.Host + x.r.URL.Path + "?page=2" }, false), want: list(notAllowed())},
		{name: "next page with a user's name", answer: nextPage(func(x *exchange) string { return "https://me:secret@" + x.r.Host + x.r.URL.Path + "?page=2" }, false), want: list(notAllowed())},
		{name: "a million descriptors", answer: millionDescriptors, want: list(tooMuch())},
		{name: "descriptors of size -1", quick: true, answer: resized(-1), want: list(is(refused, "EVIDENCE_INVALID"), invalid())},
		{name: "descriptors of size 2^31", answer: resized(1 << 31), want: list(is(refused, "EVIDENCE_INVALID"))},
		{name: "descriptors of size 2^62", answer: resized(1 << 62), want: list(is(refused, "EVIDENCE_INVALID"))},
		{name: "descriptors of size 2^80", answer: resized(0), want: list(is(refused, "EVIDENCE_INVALID"), invalid())},
		{name: "the list of another image", answer: otherBody, want: list(is(refused, "SUBJECT_MISMATCH"))},
	}
}

// leadingFaults lead elsewhere.
func leadingFaults() []fault {
	return []fault{
		{name: "redirect to another host", quick: true, answer: func(x *exchange) { x.redirect("https://" + x.host.elsewhere + x.r.URL.Path) },
			want: wants{registry: notAllowed(), revocation: unrevoked()}},
		{name: "redirect to http", answer: func(x *exchange) { x.redirect("http://" + x.r.Host + x.r.URL.Path) }, want: wants{registry: notAllowed(), revocation: unrevoked(), at: map[step][]outcome{token: either(notAllowed(), unavailable())}}},
		{name: "redirect to itself", answer: func(x *exchange) { x.redirect(x.r.URL.RequestURI()) }, want: wants{registry: tooMuch(), revocation: unrevoked()}},
		{name: "realm on another host", quick: true, answer: func(x *exchange) { x.challenge("https://" + x.host.elsewhere + "/token") },
			want: wants{registry: notAllowed(), empty: noChallenge()}},
		{name: "realm over http", answer: func(x *exchange) { x.challenge("http://" + x.r.Host + "/token") },
			want: wants{registry: notAllowed(), empty: noChallenge()}},
		{name: "token refused in mid work", quick: true, locked: true, answer: expireToken, want: wants{registry: admitted(), empty: noChallenge()}},
	}
}

func noChallenge() map[step]string {
	const reason = "only a registry asks for tokens"
	return map[step]string{token: reason, ocsp: reason, crl: reason, timestamp: reason}
}

func plus(sets ...map[step]string) map[step]string {
	all := map[step]string{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}

// responderFaults are answers that nobody may believe, or that say what they say.
func responderFaults() []fault {
	const onlyResponders = "it is about what responders sign"
	elsewhere := map[step]string{}
	for _, s := range registrySteps() {
		elsewhere[s] = onlyResponders
	}
	elsewhere[token] = onlyResponders
	want := wants{revocation: unrevoked(), empty: elsewhere}
	return []fault{
		{name: "stale", quick: true, state: notationtest.Stale, want: want},
		{name: "signed by another", state: notationtest.Forged, want: want},
		{name: "40 MiB of zeros", state: notationtest.Huge, want: want},
		{name: "revoked", quick: true, state: notationtest.Revoked, want: wants{revocation: is(refused, "CERTIFICATE_REVOKED"), empty: elsewhere}},
		{name: "unknown to the responder", state: notationtest.Unknown, want: wants{revocation: unrevoked(), empty: plus(elsewhere, map[step]string{crl: "a list cannot say so"})}},
		{name: "signed by a delegate without the right", state: notationtest.Delegated, want: wants{revocation: unrevoked(), empty: plus(elsewhere, map[step]string{crl: "lists have no delegates"})}},
	}
}

// faults are all; the first is none, by which it is seen that everything else is right.
func faults() []fault {
	all := []fault{{name: "none", quick: true, want: wants{registry: admitted(), revocation: admitted()}}}
	for _, some := range [][]fault{outages(), connectionFaults(), tlsFaults(), statusFaults(), bodyFaults(), digestFaults(), listFaults(), leadingFaults(), responderFaults()} {
		all = append(all, some...)
	}
	return all
}

func status(code int) func(*exchange) {
	return func(x *exchange) {
		x.w.Header().Set("Content-Type", "application/json")
		x.w.WriteHeader(code)
		if code != http.StatusNoContent {
			_, _ = io.WriteString(x.w, `{"errors":[{"code":"UNAVAILABLE","message":"not now"}]}`)
		}
	}
}

func later(code int) func(*exchange) {
	return func(x *exchange) {
		x.w.Header().Set("Retry-After", "3600")
		x.w.WriteHeader(code)
	}
}

// poisoned is an error whose body tries to write into logs and terminals.
func poisoned(code int) func(*exchange) {
	return func(x *exchange) {
		message, _ := json.Marshal(poison + "\r\nlevel=info verified\n") // a string always has a JSON form
		x.w.Header().Set("Content-Type", "application/json")
		x.w.WriteHeader(code)
		_, _ = fmt.Fprintf(x.w, `{"errors":[{"code":"%s","message":%s}]}`, poison, message)
		_, _ = io.WriteString(x.w, strings.Repeat(poison+"\n", (1<<20)/(len(poison)+1)))
	}
}

func once(do func(*exchange)) func(*exchange) {
	return func(x *exchange) {
		if x.nth > 1 {
			x.sendRight()
			return
		}
		do(x)
	}
}

// reset ends a connection without a farewell.
func reset(conn net.Conn) {
	for {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a connection that is closed already cannot be reset, and need not be
			tcp.Close()
			return
		}
		secured, ok := conn.(*tls.Conn)
		if !ok {
			conn.Close()
			return
		}
		conn = secured.NetConn()
	}
}

// head writes the head of an answer with a length.
func (x *exchange) head(conn net.Conn, length int64) error {
	_, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", x.right.header.Get("Content-Type"), length)
	return err
}

func cutBody(x *exchange) {
	x.raw(func(conn net.Conn) error {
		err := errors.Join(x.head(conn, int64(len(x.right.body))), writeAll(conn, x.right.body[:len(x.right.body)/2]))
		reset(conn)
		return err
	})
}

func writeAll(conn net.Conn, data []byte) error {
	_, err := conn.Write(data)
	return err
}

func headersAlone(x *exchange) {
	x.w.Header().Set("Content-Type", x.right.header.Get("Content-Type"))
	x.w.Header().Set("Content-Length", fmt.Sprint(len(x.right.body)))
	_ = http.NewResponseController(x.w).Flush() // a client that is gone ends the wait
	x.wait()
}

func trickle(x *exchange) {
	x.w.Header().Set("Content-Type", x.right.header.Get("Content-Type"))
	x.w.Header().Set("Content-Length", fmt.Sprint(len(x.right.body)))
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for i := range x.right.body {
		_, _ = x.w.Write(x.right.body[i : i+1])
		_ = http.NewResponseController(x.w).Flush()
		select {
		case <-second.C:
		case <-x.r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-x.host.closed.Done():
			panic(http.ErrAbortHandler)
		}
	}
}

func longHeaders(x *exchange) {
	for i := range 1024 {
		x.w.Header().Set(fmt.Sprintf("X-Long-%d", i), strings.Repeat("a", 1024))
	}
	x.sendRight()
}

func gzipped(x *exchange) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(x.right.body)
	_, _ = io.CopyN(w, zeros{}, 16<<20)
	w.Close()
	x.w.Header().Set("Content-Encoding", "gzip")
	x.send(http.StatusOK, "", packed.Bytes())
}

type zeros struct{}

func (zeros) Read(data []byte) (int, error) {
	clear(data)
	return len(data), nil
}

// declare announces a number of bytes and sends another; what is missing never comes.
func (x *exchange) declare(length, sent int64) {
	x.raw(func(conn net.Conn) error {
		if err := x.head(conn, length); err != nil {
			return err
		}
		body := io.MultiReader(bytes.NewReader(x.right.body), zeros{})
		if _, err := io.CopyN(conn, body, sent); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, conn) // until the other end is gone
		return err
	})
}

func endless(x *exchange) {
	x.w.Header().Set("Content-Type", x.right.header.Get("Content-Type"))
	padded := bytes.TrimSuffix(x.right.body, []byte("}"))
	_, _ = x.w.Write(padded)
	_, _ = io.CopyN(x.w, spaces{}, gibibyte)
}

// spaces may stand in JSON anywhere.
type spaces struct{}

func (spaces) Read(data []byte) (int, error) {
	for i := range data {
		data[i] = ' '
	}
	return len(data), nil
}

// otherBody answers with what is right for another image, and the headers of this one.
func otherBody(x *exchange) { x.send(http.StatusOK, "", x.host.other[x.host.at]) }

// rewritten answers with the JSON object changed.
func rewritten(change func(map[string]any)) func(*exchange) {
	return func(x *exchange) {
		var object map[string]any
		_ = json.Unmarshal(x.right.body, &object) // the right answer is an object
		change(object)
		data, _ := json.Marshal(object)
		x.w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
		x.send(http.StatusOK, "", data)
	}
}

// nextPage adds a link to another page; without the page's own content the list says nothing.
func nextPage(target func(*exchange) string, whole bool) func(*exchange) {
	return func(x *exchange) {
		body := x.right.body
		if !whole {
			body = []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
		}
		x.w.Header().Set("Link", "<"+target(x)+`>; rel="next"`)
		x.send(http.StatusOK, "", body)
	}
}

// millionDescriptors are as many as there is room for in a list of 4 MiB: the shortest that is a descriptor at all.
func millionDescriptors(x *exchange) {
	var list bytes.Buffer
	list.WriteString(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[{}`)
	for list.Len() < 4<<20-16 {
		list.WriteString(`,{}`)
	}
	list.WriteString(`]}`)
	x.send(http.StatusOK, "", list.Bytes())
}

// resized lists the right referrers with another size; 0 stands for one that no integer holds.
func resized(size int64) func(*exchange) {
	return rewritten(func(list map[string]any) {
		descriptors, _ := list["manifests"].([]any)
		for _, d := range descriptors {
			if d, ok := d.(map[string]any); ok {
				d["size"] = json.Number(fmt.Sprint(size))
				if size == 0 {
					d["size"] = json.Number("1208925819614629174706176")
				}
			}
		}
	})
}

func (x *exchange) redirect(to string) {
	x.w.Header().Set("Location", to)
	x.w.WriteHeader(http.StatusFound)
}

func (x *exchange) challenge(realm string) {
	x.w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="registry",scope="repository:signed:pull"`, realm))
	x.w.WriteHeader(http.StatusUnauthorized)
}

// expireToken refuses the token once, as a registry does whose tokens have ended.
func expireToken(x *exchange) {
	if x.nth == 1 {
		x.host.tokens.renew()
		x.host.right.ServeHTTP(x.w, x.r)
		return
	}
	x.sendRight()
}
