package notation

import (
	"container/list"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"golang.org/x/crypto/ocsp"

	"github.com/ratify-provider/ratify"
)

func valid(life time.Duration) func(context.Context) (answer, error) {
	return func(context.Context) (answer, error) {
		return answer{thisUpdate: time.Now(), until: time.Now().Add(life)}, nil
	}
}

// TestAsk holds how long answers live, in a bubble whose clock stands still until everybody waits.
func TestAsk(t *testing.T) {
	down := errors.New("down")
	fail := func(context.Context) (answer, error) { return answer{}, down }
	for _, c := range []struct {
		name  string
		first func(context.Context) (answer, error)
		after time.Duration
		then  func(context.Context) (answer, error)
		asked bool  // whether the second question reaches the responder
		err   error // of the second question
	}{
		{"kept", valid(30 * time.Minute), 29 * time.Minute, fail, false, nil},
		{"ended", valid(30 * time.Minute), 31 * time.Minute, fail, true, down},
		{"ended and renewed", valid(30 * time.Minute), 31 * time.Minute, valid(time.Hour), true, nil},
		{"old, renewed beside", valid(10 * time.Hour), 2 * time.Hour, valid(time.Hour), true, nil},
		{"old, responder down", valid(10 * time.Hour), 2 * time.Hour, fail, true, nil},
		{"never ending, beyond the maximum", valid(1000 * time.Hour), 25 * time.Hour, fail, true, down},
		{"failure remembered", fail, 5 * time.Second, valid(time.Hour), false, down},
		{"failure forgotten", fail, 11 * time.Second, valid(time.Hour), true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRevocation(RevocationOptions{})
				_, _ = r.ask(t.Context(), "key", "http://ca.example/", c.first)
				time.Sleep(c.after)
				var asked atomic.Bool
				_, err := r.ask(t.Context(), "key", "http://ca.example/", func(ctx context.Context) (answer, error) {
					asked.Store(true)
					return c.then(ctx)
				})
				synctest.Wait()
				if asked.Load() != c.asked || !errors.Is(err, c.err) {
					t.Errorf("asked %t, error %v; want %t, %v", asked.Load(), err, c.asked, c.err)
				}
			})
		})
	}
}

func TestAskIgnoresReplayedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocation(RevocationOptions{})
		now := time.Now()
		at := func(thisUpdate time.Time, status int) func(context.Context) (answer, error) {
			return func(context.Context) (answer, error) {
				return answer{thisUpdate: thisUpdate, until: now.Add(20 * time.Hour), single: &singleStatus{status: status}}, nil
			}
		}
		_, _ = r.ask(t.Context(), "key", "http://ca.example/", at(now, ocsp.Revoked))
		time.Sleep(2 * time.Hour)
		_, _ = r.ask(t.Context(), "key", "http://ca.example/", at(now.Add(-time.Hour), ocsp.Good))
		synctest.Wait()
		a, err := r.ask(t.Context(), "key", "http://ca.example/", at(now, ocsp.Good))
		if err != nil || a.single.status != ocsp.Revoked {
			t.Errorf("an older answer replaced the newer one: %v %v", a.single, err)
		}
	})
}

func TestAskContainsPanics(t *testing.T) {
	r := NewRevocation(RevocationOptions{})
	_, err := r.ask(t.Context(), "key", "http://ca.example/", func(context.Context) (answer, error) { panic("boom") })
	if err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("error %v", err)
	}
}

func TestAskBoundsRequestsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocation(RevocationOptions{})
		var under, most atomic.Int64
		var wait sync.WaitGroup
		for i := range 3 * maxFetches {
			wait.Go(func() {
				_, _ = r.ask(t.Context(), fmt.Sprint(i), fmt.Sprintf("http://ca%d.example/", i), func(ctx context.Context) (answer, error) {
					most.Store(max(most.Load(), under.Add(1)))
					defer under.Add(-1)
					<-ctx.Done()
					return answer{}, ctx.Err()
				})
			})
		}
		wait.Wait()
		if n := most.Load(); n > maxFetches {
			t.Errorf("%d requests at the same time, want at most %d", n, maxFetches)
		}
	})
}

// A host that answers nothing leaves places to others, however many certificates name it and however it is spelled.
func TestHostThatHangsLeavesPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocation(RevocationOptions{})
		var most, there atomic.Int64
		hang := func(ctx context.Context) (answer, error) {
			most.Store(max(most.Load(), there.Add(1)))
			defer there.Add(-1)
			<-ctx.Done()
			return answer{}, ctx.Err()
		}
		spellings := []string{"http://dead.example/", "http://DEAD.example/crl", "http://dead.example:8080/", "HTTP://dead.example"}
		var all sync.WaitGroup
		for i := range 5 * maxFetches {
			all.Go(func() { _, _ = r.ask(t.Context(), fmt.Sprint("dead", i), spellings[i%len(spellings)], hang) })
		}
		synctest.Wait()
		began := time.Now()
		if _, err := r.ask(t.Context(), "alive", "http://alive.example/", valid(time.Hour)); err != nil || time.Since(began) > 0 {
			t.Errorf("another host was asked after %v, error %v", time.Since(began), err)
		}
		all.Wait()
		if most.Load() != maxHostFetches {
			t.Errorf("%d requests to one host under way, want %d", most.Load(), maxHostFetches)
		}
		if len(r.hosts.byHost) != 0 {
			t.Errorf("%d hosts are remembered", len(r.hosts.byHost))
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	now := time.Now()
	c := &answers{maxBytes: 10 * (entryBytes + 100), maxEntries: 5, byKey: map[string]*list.Element{}, byAge: list.New()}
	put := func(key string, bytes int64) { c.put(key, answer{bytes: bytes, until: now.Add(time.Hour)}) }
	for i := range 100 {
		put(fmt.Sprint(i), 0)
	}
	if len(c.byKey) != 5 || c.byAge.Len() != 5 {
		t.Errorf("%d entries, want 5", len(c.byKey))
	}
	if _, ok := c.get("95", now); !ok {
		t.Fatal("a recent answer is gone")
	}
	put("new", 0)
	if _, ok := c.get("95", now); !ok {
		t.Error("what was just used went first")
	}
	if _, ok := c.get("96", now); ok {
		t.Error("what was not used for longest is still there")
	}
	put("large", 9*(entryBytes+100))
	if c.bytes > c.maxBytes {
		t.Errorf("%d bytes, more than %d", c.bytes, c.maxBytes)
	}
	put("too large", 20*(entryBytes+100))
	if _, ok := c.get("too large", now); ok {
		t.Error("an answer beyond the bound is kept")
	}
	if _, ok := c.get("large", now.Add(2*time.Hour)); ok {
		t.Error("an answer that has ended is used")
	}
	c.put("large", answer{})
	for key := range c.byKey {
		c.get(key, now.Add(2*time.Hour))
	}
	if c.bytes != 0 || len(c.byKey) != 0 {
		t.Errorf("%d bytes in %d entries after all are gone", c.bytes, len(c.byKey))
	}
}

// issuer makes lists and answers that notationtest's responder would not.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Issuer"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{cert, key}
}

func (i issuer) leaf(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1000)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (i issuer) list(t *testing.T, template x509.RevocationList) []byte {
	t.Helper()
	if template.Number == nil {
		template.Number = big.NewInt(10)
	}
	if template.NextUpdate.IsZero() {
		template.ThisUpdate, template.NextUpdate = time.Now().Add(-time.Minute), time.Now().Add(time.Minute)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &template, i.cert, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func marshal(t *testing.T, value any, params string) []byte {
	t.Helper()
	der, err := asn1.MarshalWithParams(value, params)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// tagged wraps content in a context-specific tag.
func tagged(t *testing.T, tag int, constructed bool, content []byte) []byte {
	t.Helper()
	return marshal(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: constructed, Bytes: content}, "")
}

func sequence(t *testing.T, content ...[]byte) []byte {
	t.Helper()
	var all []byte
	for _, c := range content {
		all = append(all, c...)
	}
	return marshal(t, asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: all}, "")
}

// pointName is a DistributionPointName with one URI.
func pointName(t *testing.T, uri string) []byte {
	t.Helper()
	return tagged(t, 0, true, tagged(t, 0, true, tagged(t, 6, false, []byte(uri))))
}

func extension(oid asn1.ObjectIdentifier, value []byte) pkix.Extension {
	return pkix.Extension{Id: oid, Critical: true, Value: value}
}

func TestLists(t *testing.T) {
	i := newIssuer(t)
	now := time.Now()
	entry := func(reason int, at time.Time, extra ...pkix.Extension) x509.RevocationListEntry {
		return x509.RevocationListEntry{SerialNumber: big.NewInt(1000), RevocationTime: at, ReasonCode: reason, ExtraExtensions: extra}
	}
	entries := func(e ...x509.RevocationListEntry) x509.RevocationList {
		return x509.RevocationList{RevokedCertificateEntries: e}
	}
	invalidSince := func(at time.Time) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: marshal(t, at.UTC().Truncate(time.Second), "generalized")}
	}
	scoped := func(fields func(base string) [][]byte) func(string) x509.RevocationList {
		return func(base string) x509.RevocationList {
			return x509.RevocationList{ExtraExtensions: []pkix.Extension{extension(oidDistributionPoint(), sequence(t, fields(base)...))}}
		}
	}
	yes := []byte{0xff}
	withDelta := func(base string) x509.RevocationList {
		return x509.RevocationList{
			RevokedCertificateEntries: []x509.RevocationListEntry{entry(reasonHold, now.Add(-time.Hour))},
			ExtraExtensions:           []pkix.Extension{{Id: oidFreshestCRL(), Value: sequence(t, sequence(t, pointName(t, base+"/delta")))}},
		}
	}
	delta := func(number, about int64, e ...x509.RevocationListEntry) *x509.RevocationList {
		return &x509.RevocationList{
			Number: big.NewInt(number), RevokedCertificateEntries: e,
			ExtraExtensions: []pkix.Extension{extension(oidDeltaIndicator(), marshal(t, big.NewInt(about), ""))},
		}
	}
	endingSoon := func(list *x509.RevocationList) *x509.RevocationList {
		list.ThisUpdate, list.NextUpdate = now.Add(-time.Minute), now.Add(10*time.Second)
		return list
	}
	plain := func(list x509.RevocationList) func(string) x509.RevocationList {
		return func(string) x509.RevocationList { return list }
	}
	for _, c := range []struct {
		name    string
		list    func(base string) x509.RevocationList
		delta   *x509.RevocationList
		signed  time.Time
		revoked bool
		until   time.Time // where it is not the list's own
		err     string
	}{
		{name: "empty", list: plain(entries())},
		{name: "listed", list: plain(entries(entry(1, now))), revoked: true},
		{name: "on hold", list: plain(entries(entry(reasonHold, now))), revoked: true},
		{name: "on hold, then released", list: plain(entries(entry(reasonHold, now.Add(-time.Hour)), entry(reasonRemove, now)))},
		{name: "released, then on hold", list: plain(entries(entry(reasonRemove, now.Add(-time.Hour)), entry(reasonHold, now))), revoked: true},
		{name: "for good, then released", list: plain(entries(entry(1, now.Add(-time.Hour)), entry(reasonRemove, now))), revoked: true},
		{name: "key invalid later than signed", list: plain(entries(entry(1, now, invalidSince(now.Add(-time.Hour))))), signed: now.Add(-2 * time.Hour)},
		{name: "key invalid before signed", list: plain(entries(entry(1, now, invalidSince(now.Add(-time.Hour))))), signed: now, revoked: true},
		{name: "key invalid later, signing time not trusted", list: plain(entries(entry(1, now, invalidSince(now)))), revoked: true},
		{name: "malformed invalidity date", list: plain(entries(entry(1, now, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: []byte("x")}))), err: "invalidity date"},
		{name: "entry of another issuer", list: plain(entries(entry(1, now, extension(asn1.ObjectIdentifier{2, 5, 29, 29}, []byte("x"))))), err: "not understood"},
		{name: "critical extension", list: plain(x509.RevocationList{ExtraExtensions: []pkix.Extension{extension(asn1.ObjectIdentifier{1, 2, 3}, []byte("x"))}}), err: "not understood"},
		{name: "of the future", list: plain(x509.RevocationList{ThisUpdate: now.Add(time.Hour), NextUpdate: now.Add(2 * time.Hour)}), err: "future"},
		{name: "delta instead of a list", list: func(string) x509.RevocationList { return *delta(11, 10) }, err: "where a whole list belongs"},
		{name: "of this point", list: scoped(func(base string) [][]byte { return [][]byte{pointName(t, base+"/list")} })},
		{name: "of another point", list: scoped(func(base string) [][]byte { return [][]byte{pointName(t, base+"/other")} }), err: "another distribution point"},
		{name: "of end entities", list: scoped(func(string) [][]byte { return [][]byte{tagged(t, 1, false, yes)} })},
		{name: "of authorities", list: scoped(func(string) [][]byte { return [][]byte{tagged(t, 2, false, yes)} }), err: "other kinds"},
		{name: "of some reasons", list: scoped(func(string) [][]byte { return [][]byte{tagged(t, 3, false, []byte{0, 2})} }), err: "limited"},
		{name: "indirect", list: scoped(func(string) [][]byte { return [][]byte{tagged(t, 4, false, yes)} }), err: "limited"},
		{name: "of attribute certificates", list: scoped(func(string) [][]byte { return [][]byte{tagged(t, 5, false, yes)} }), err: "limited"},
		{name: "malformed scope", list: scoped(func(string) [][]byte { return [][]byte{tagged(t, 9, false, yes)} }), err: "malformed"},
		{name: "scope cut short", list: plain(x509.RevocationList{ExtraExtensions: []pkix.Extension{extension(oidDistributionPoint(), []byte{0x30, 0x10})}}), err: "malformed"},
		{name: "delta releases", list: withDelta, delta: delta(11, 10, entry(reasonRemove, now))},
		{name: "delta adds nothing", list: withDelta, delta: delta(11, 9), revoked: true},
		{name: "delta ends first", list: withDelta, delta: endingSoon(delta(11, 10)), revoked: true, until: now.Add(10 * time.Second)},
		{name: "delta of an older list", list: withDelta, delta: delta(10, 9), err: "does not follow"},
		{name: "delta of a newer list", list: withDelta, delta: delta(12, 11), err: "does not follow"},
		{name: "delta that is a list", list: withDelta, delta: &x509.RevocationList{Number: big.NewInt(11)}, err: "where a delta belongs"},
		{name: "delta that is not there", list: withDelta, err: "404"},
		{name: "malformed address of the delta", list: plain(x509.RevocationList{ExtraExtensions: []pkix.Extension{{Id: oidFreshestCRL(), Value: []byte{1}}}}), err: "malformed"},
		{name: "no address of the delta", list: plain(x509.RevocationList{ExtraExtensions: []pkix.Extension{{Id: oidFreshestCRL(), Value: sequence(t, sequence(t))}}}), err: "0 addresses"},
		{name: "delta at a file", list: plain(x509.RevocationList{ExtraExtensions: []pkix.Extension{{Id: oidFreshestCRL(), Value: sequence(t, sequence(t, pointName(t, "file:///etc/passwd")))}}}), err: "not plain http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mux := http.NewServeMux()
			server := httptest.NewServer(mux)
			defer server.Close()
			template := c.list(server.URL)
			mux.HandleFunc("/list", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(i.list(t, template)) })
			if c.delta != nil {
				mux.HandleFunc("/delta", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(i.list(t, *c.delta)) })
			}
			cert, _ := i.leaf(t, &x509.Certificate{CRLDistributionPoints: []string{server.URL + "/list"}})
			r := NewRevocation(RevocationOptions{})
			defer r.Close()
			revoked, until, err := r.askCRLs(t.Context(), cert, i.cert, c.signed, true)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if !c.until.IsZero() && until.After(c.until) {
				t.Errorf("until %s, want %s at most", until, c.until)
			}
			if err != nil || revoked != c.revoked || until.IsZero() {
				t.Errorf("revoked %t until %s, error %v; want %t", revoked, until, err, c.revoked)
			}
		})
	}
}

func TestListsOfCertificate(t *testing.T) {
	i := newIssuer(t)
	for _, c := range []struct {
		name     string
		template x509.Certificate
		err      string
	}{
		{"too many", x509.Certificate{CRLDistributionPoints: []string{"http://a", "http://b", "http://c", "http://d", "http://e"}}, "more than 4"},
		{"directory server", x509.Certificate{CRLDistributionPoints: []string{"ldap://host/list"}}, "not plain http"},
		{"credentials in the address", x509.Certificate{CRLDistributionPoints: []string{"http://user:secret@host/list"}}, "not plain http"},
		{"malformed address", x509.Certificate{CRLDistributionPoints: []string{"http://[/"}}, "malformed address"},
	} {
		cert, _ := i.leaf(t, &c.template)
		r := NewRevocation(RevocationOptions{})
		if _, _, err := r.askCRLs(t.Context(), cert, i.cert, time.Time{}, true); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		}
	}
	t.Run("list of another issuer at the same address", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(i.list(t, x509.RevocationList{})) }))
		defer server.Close()
		other := newIssuer(t) // of the same name
		r := NewRevocation(RevocationOptions{})
		defer r.Close()
		template := x509.Certificate{CRLDistributionPoints: []string{server.URL}}
		mine, _ := i.leaf(t, &template)
		if _, _, err := r.askCRLs(t.Context(), mine, i.cert, time.Time{}, true); err != nil {
			t.Fatal(err)
		}
		theirs, _ := other.leaf(t, &template)
		if _, _, err := r.askCRLs(t.Context(), theirs, other.cert, time.Time{}, true); err == nil {
			t.Error("a list that was checked for one issuer answers for another")
		}
	})
	t.Run("delta that the list does not know", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(i.list(t, x509.RevocationList{})) }))
		defer server.Close()
		cert, _ := i.leaf(t, &x509.Certificate{
			CRLDistributionPoints: []string{server.URL},
			ExtraExtensions:       []pkix.Extension{{Id: oidFreshestCRL(), Value: sequence(t, sequence(t, pointName(t, server.URL)))}},
		})
		r := NewRevocation(RevocationOptions{})
		defer r.Close()
		if _, _, err := r.askCRLs(t.Context(), cert, i.cert, time.Time{}, true); err == nil || !strings.Contains(err.Error(), "delta") {
			t.Errorf("error %v", err)
		}
	})
}

func TestOCSPResponders(t *testing.T) {
	i := newIssuer(t)
	past, future := time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour)
	delegate := func(usage x509.ExtKeyUsage, notAfter time.Time) func() (*x509.Certificate, *ecdsa.PrivateKey) {
		return func() (*x509.Certificate, *ecdsa.PrivateKey) {
			return i.leaf(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Responder"}, ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotBefore: past, NotAfter: notAfter})
		}
	}
	for _, c := range []struct {
		name      string
		responder func() (*x509.Certificate, *ecdsa.PrivateKey)
		change    func(*ocsp.Response)
		signed    time.Time
		code      ratify.Code
		err       string
	}{
		{name: "the issuer"},
		{name: "a delegate", responder: delegate(x509.ExtKeyUsageOCSPSigning, future)},
		{name: "a delegate that has expired", responder: delegate(x509.ExtKeyUsageOCSPSigning, past.Add(time.Hour)), code: ratify.RevocationUnavailable, err: "outside its validity"},
		{name: "a signer of code", responder: delegate(x509.ExtKeyUsageCodeSigning, future), code: ratify.RevocationUnavailable, err: "may not sign"},
		{name: "no next update", change: func(r *ocsp.Response) { r.NextUpdate = time.Time{} }, code: ratify.RevocationUnavailable, err: "no next update"},
		{name: "about another certificate", change: func(r *ocsp.Response) { r.SerialNumber = big.NewInt(7) }, code: ratify.RevocationUnavailable, err: "no response matching"},
		{name: "revoked", change: func(r *ocsp.Response) { r.Status = ocsp.Revoked }, code: ratify.CertificateRevoked},
		{name: "revoked, signed before the key was invalid", signed: past, change: func(r *ocsp.Response) {
			r.Status = ocsp.Revoked
			r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: marshal(t, future.UTC().Truncate(time.Second), "generalized")}}
		}},
		{name: "malformed invalidity date", change: func(r *ocsp.Response) {
			r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: []byte("x")}}
		}, code: ratify.RevocationUnavailable, err: "invalidity date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				template := ocsp.Response{Status: ocsp.Good, SerialNumber: big.NewInt(1000), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Minute)}
				if c.change != nil {
					c.change(&template)
				}
				responder, key := i.cert, i.key
				if c.responder != nil {
					responder, key = c.responder()
					template.Certificate = responder
				}
				der, err := ocsp.CreateResponse(i.cert, responder, template, key)
				if err != nil {
					t.Error(err)
				}
				_, _ = w.Write(der)
			}))
			defer server.Close()
			cert, _ := i.leaf(t, &x509.Certificate{OCSPServer: []string{"ftp://host", server.URL}})
			v := &validator{revocation: NewRevocation(RevocationOptions{}), allowPrivate: true}
			defer v.revocation.Close()
			s := v.look(t.Context(), cert, i.cert, c.signed)
			if s.code != c.code || c.err != "" && (s.err == nil || !strings.Contains(s.err.Error(), c.err)) {
				t.Errorf("%q: %v; want %q: %s", s.code, s.err, c.code, c.err)
			}
		})
	}
	cert, _ := i.leaf(t, &x509.Certificate{OCSPServer: []string{"http://a", "http://b", "http://c", "http://d", "http://e"}})
	if _, err := NewRevocation(RevocationOptions{}).askOCSP(t.Context(), cert, i.cert, true); err == nil || !strings.Contains(err.Error(), "more than 4") {
		t.Errorf("five responders: %v", err)
	}
}

func TestOCSPRequestIsPostedWhereItDoesNotFitTheAddress(t *testing.T) {
	for _, c := range []struct {
		server string
		size   int
		method string
	}{
		{"http://host/ocsp", 100, http.MethodGet},
		{"http://host/ocsp", 250, http.MethodPost},
		{"http://host/ocsp?ca=1", 100, http.MethodPost},
	} {
		req, err := ocspHTTPRequest(t.Context(), c.server, make([]byte, c.size))
		if err != nil || req.Method != c.method {
			t.Errorf("%s, %d bytes: %s, %v; want %s", c.server, c.size, req.Method, err, c.method)
		}
	}
}

func TestValidatorNeedsAVerification(t *testing.T) {
	v := &validator{revocation: NewRevocation(RevocationOptions{})}
	if _, err := v.ValidateContext(t.Context(), revocationOptions(newIssuer(t).cert)); err == nil {
		t.Error("revocation is looked at for a chain that nobody vouched for")
	}
}

func revocationOptions(chain ...*x509.Certificate) revocation.ValidateContextOptions {
	return revocation.ValidateContextOptions{CertChain: chain}
}
