package notation

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Reasons of RFC 5280 section 5.3.1 that do not last.
const (
	reasonHold   = 6
	reasonRemove = 8
)

// revokedBytes is what one entry of a list takes when it is kept: serial number, string header, entry, slot of the map.
const revokedBytes = 128

// A revokedList is a CRL, with its delta if it has one, whose signatures were checked: what is needed of it, in little space.
type revokedList struct {
	entries  map[string]revokedEntry // by the serial number's bytes
	scope    listScope
	hasDelta bool
}

type revokedEntry struct {
	at, invalidity time.Time
	reason         int
}

// A listScope is what an issuing distribution point (RFC 5280 section 5.2.5) limits a list to.
type listScope struct {
	urls                []string
	onlyUsers, onlyCAs  bool
	onlyAttributes      bool
	partial, isIndirect bool
}

// askCRLs reads all lists that the certificate names: where there are several, each may be about some reasons only. It
// returns the answer that says it is revoked, or the one that ends first.
func (r *Revocation) askCRLs(ctx context.Context, cert, issuer *x509.Certificate, signed time.Time, allowPrivate bool) (revoked bool, until time.Time, err error) {
	if len(cert.CRLDistributionPoints) > maxServers {
		return false, time.Time{}, fmt.Errorf("the certificate names %d CRLs, more than %d", len(cert.CRLDistributionPoints), maxServers)
	}
	namesDelta := findExtension(cert.Extensions, oidFreshestCRL()) != nil
	for _, point := range cert.CRLDistributionPoints {
		if err := checkURL(point); err != nil {
			return false, time.Time{}, err
		}
		key := fmt.Sprintf("crl %t %s %s", allowPrivate, fingerprint(issuer.Raw), point)
		a, err := r.ask(ctx, key, point, func(ctx context.Context) (answer, error) {
			return r.fetchCRL(ctx, point, issuer, allowPrivate)
		})
		if err == nil && namesDelta && !a.list.hasDelta {
			// The certificate's own delta may be about another scope than the list that was read.
			err = errors.New("the certificate names a delta that the list does not")
		}
		if err != nil {
			return false, time.Time{}, fmt.Errorf("CRL %s: %w", point, err)
		}
		if err := a.list.scope.check(cert, point); err != nil {
			return false, time.Time{}, fmt.Errorf("CRL %s: %w", point, err)
		}
		until = earliest(until, a.until)
		if a.list.revokes(cert.SerialNumber, signed) {
			return true, a.until, nil
		}
	}
	return false, until, nil
}

// revokes tells whether the serial number is listed for good or on hold. A signature of a trusted signing time before the
// invalidity date stands.
func (l *revokedList) revokes(serial *big.Int, signed time.Time) bool {
	entry, ok := l.entries[string(serial.Bytes())]
	switch {
	case !ok, entry.reason == reasonRemove:
		return false
	case !signed.IsZero() && !entry.invalidity.IsZero() && signed.Before(entry.invalidity):
		return false
	}
	return true
}

func (r *Revocation) fetchCRL(ctx context.Context, point string, issuer *x509.Certificate, allowPrivate bool) (answer, error) {
	base, err := r.fetchList(ctx, point, issuer, allowPrivate)
	if err != nil {
		return answer{}, err
	}
	kept := &revokedList{entries: make(map[string]revokedEntry, len(base.RevokedCertificateEntries))}
	if kept.scope, err = scopeOf(base); err != nil {
		return answer{}, err
	}
	if findExtension(base.Extensions, oidDeltaIndicator()) != nil {
		return answer{}, errors.New("it is a delta where a whole list belongs")
	}
	if err := kept.add(base); err != nil {
		return answer{}, err
	}
	a := answer{list: kept, thisUpdate: base.ThisUpdate, until: base.NextUpdate}
	if freshest := findExtension(base.Extensions, oidFreshestCRL()); freshest != nil {
		kept.hasDelta = true
		delta, err := r.fetchDelta(ctx, freshest.Value, base, issuer, allowPrivate)
		if err != nil {
			return answer{}, fmt.Errorf("delta: %w", err)
		}
		if err := kept.add(delta); err != nil {
			return answer{}, fmt.Errorf("delta: %w", err)
		}
		a.until = earliest(a.until, delta.NextUpdate)
	}
	a.bytes = int64(len(kept.entries)) * revokedBytes
	return a, nil
}

// fetchList reads one list and checks that it is the issuer's, and of now (RFC 5280 section 6.3.3).
func (r *Revocation) fetchList(ctx context.Context, point string, issuer *x509.Certificate, allowPrivate bool) (*x509.RevocationList, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, point, nil)
	if err != nil {
		return nil, err
	}
	data, err := r.do(req, allowPrivate, maxCRLBytes)
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, errors.New("it is another issuer's")
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("it is not signed by the certificate's issuer: %w", err)
	}
	if err := checkUpdates(r.now(), list.ThisUpdate, list.NextUpdate); err != nil {
		return nil, err
	}
	for _, ext := range list.Extensions {
		known := ext.Id.Equal(oidDistributionPoint()) || ext.Id.Equal(oidDeltaIndicator())
		if ext.Critical && !known {
			return nil, fmt.Errorf("it has a critical extension %s that is not understood", ext.Id)
		}
	}
	return list, nil
}

// fetchDelta reads the delta of a list from the first address that gives one (RFC 5280 section 5.2.6).
func (r *Revocation) fetchDelta(ctx context.Context, points []byte, base *x509.RevocationList, issuer *x509.Certificate, allowPrivate bool) (*x509.RevocationList, error) {
	urls, err := distributionURLs(points)
	if err != nil {
		return nil, err
	}
	if len(urls) == 0 || len(urls) > maxServers {
		return nil, fmt.Errorf("the list names %d addresses for it", len(urls))
	}
	var failures []error
	for _, point := range urls {
		err := checkURL(point)
		if err == nil {
			var delta *x509.RevocationList
			if delta, err = r.fetchList(ctx, point, issuer, allowPrivate); err == nil {
				if err = checkDelta(base, delta); err == nil {
					return delta, nil
				}
			}
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// checkDelta checks that the delta is one, and is about this list or an older one (RFC 5280 section 5.2.4).
func checkDelta(base, delta *x509.RevocationList) error {
	indicator := findExtension(delta.Extensions, oidDeltaIndicator())
	if indicator == nil {
		return errors.New("it is a whole list where a delta belongs")
	}
	about := new(big.Int)
	value := cryptobyte.String(indicator.Value)
	if !value.ReadASN1Integer(about) || base.Number == nil || delta.Number == nil {
		return errors.New("it has no number")
	}
	if about.Cmp(base.Number) > 0 || delta.Number.Cmp(base.Number) <= 0 {
		return fmt.Errorf("number %s about %s does not follow list %s", delta.Number, about, base.Number)
	}
	return nil
}

// add takes the entries of a list. What was said last counts, but a certificate that is revoked for good stays so.
func (l *revokedList) add(list *x509.RevocationList) error {
	for _, listed := range list.RevokedCertificateEntries {
		entry := revokedEntry{at: listed.RevocationTime, reason: listed.ReasonCode}
		for _, ext := range listed.Extensions {
			if ext.Critical && !isInvalidityDate(ext.Id) && !ext.Id.Equal(oidReasonCode()) {
				return fmt.Errorf("an entry has a critical extension %s that is not understood", ext.Id)
			}
		}
		var err error
		if entry.invalidity, err = invalidityDate(listed.Extensions); err != nil {
			return err
		}
		serial := string(listed.SerialNumber.Bytes())
		if old, ok := l.entries[serial]; ok && (!old.passing() || entry.passing() && entry.at.Before(old.at)) {
			continue
		}
		l.entries[serial] = entry
	}
	return nil
}

func (e revokedEntry) passing() bool { return e.reason == reasonHold || e.reason == reasonRemove }

// check tells whether a list of this scope can say that the certificate is not revoked. An issuer that splits its list
// signs all parts with one key, so that the part of other certificates could be served in place of the right one.
func (s listScope) check(cert *x509.Certificate, point string) error {
	switch {
	case s.isIndirect, s.partial, s.onlyAttributes:
		return errors.New("it is limited in a way that is not understood")
	case s.onlyUsers && cert.IsCA, s.onlyCAs && !cert.IsCA:
		return errors.New("it is about other kinds of certificates")
	case len(s.urls) > 0 && !slices.Contains(s.urls, point):
		return errors.New("it is of another distribution point")
	}
	return nil
}

// scopeOf reads the issuing distribution point of a list.
func scopeOf(list *x509.RevocationList) (listScope, error) {
	var scope listScope
	ext := findExtension(list.Extensions, oidDistributionPoint())
	if ext == nil {
		return scope, nil
	}
	bad := errors.New("its issuing distribution point is malformed")
	value, body := cryptobyte.String(ext.Value), cryptobyte.String(nil)
	if !value.ReadASN1(&body, cryptobyteasn1.SEQUENCE) || !value.Empty() {
		return scope, bad
	}
	for !body.Empty() {
		var field cryptobyte.String
		var tag cryptobyteasn1.Tag
		if !body.ReadAnyASN1(&field, &tag) {
			return scope, bad
		}
		isTrue := len(field) == 1 && field[0] != 0
		switch tag {
		case cryptobyteasn1.Tag(0).ContextSpecific().Constructed():
			urls, ok := fullName(field)
			if !ok {
				return scope, bad
			}
			scope.urls = urls
		case cryptobyteasn1.Tag(1).ContextSpecific():
			scope.onlyUsers = isTrue
		case cryptobyteasn1.Tag(2).ContextSpecific():
			scope.onlyCAs = isTrue
		case cryptobyteasn1.Tag(3).ContextSpecific():
			scope.partial = true
		case cryptobyteasn1.Tag(4).ContextSpecific():
			scope.isIndirect = isTrue
		case cryptobyteasn1.Tag(5).ContextSpecific():
			scope.onlyAttributes = isTrue
		default:
			return scope, bad
		}
	}
	return scope, nil
}

// distributionURLs reads the addresses of a CRLDistributionPoints (RFC 5280 section 4.2.1.13).
func distributionURLs(value []byte) ([]string, error) {
	bad := errors.New("the distribution points are malformed")
	outer, points := cryptobyte.String(value), cryptobyte.String(nil)
	if !outer.ReadASN1(&points, cryptobyteasn1.SEQUENCE) {
		return nil, bad
	}
	var urls []string
	for !points.Empty() {
		var point, name cryptobyte.String
		var present bool
		if !points.ReadASN1(&point, cryptobyteasn1.SEQUENCE) ||
			!point.ReadOptionalASN1(&name, &present, cryptobyteasn1.Tag(0).ContextSpecific().Constructed()) {
			return nil, bad
		}
		if !present {
			continue
		}
		found, ok := fullName(name)
		if !ok {
			return nil, bad
		}
		urls = append(urls, found...)
	}
	return urls, nil
}

// fullName reads the URIs of a DistributionPointName; a name relative to the issuer has none.
func fullName(name cryptobyte.String) (urls []string, ok bool) {
	var names cryptobyte.String
	var present bool
	if !name.ReadOptionalASN1(&names, &present, cryptobyteasn1.Tag(0).ContextSpecific().Constructed()) {
		return nil, false
	}
	for !names.Empty() {
		var general cryptobyte.String
		var tag cryptobyteasn1.Tag
		if !names.ReadAnyASN1(&general, &tag) {
			return nil, false
		}
		if tag == cryptobyteasn1.Tag(6).ContextSpecific() { // uniformResourceIdentifier
			urls = append(urls, string(general))
		}
	}
	return urls, true
}

func findExtension(extensions []pkix.Extension, oid asn1.ObjectIdentifier) *pkix.Extension {
	for i := range extensions {
		if extensions[i].Id.Equal(oid) {
			return &extensions[i]
		}
	}
	return nil
}

// The extensions of RFC 5280 that limit, complete or explain a list: sections 5.2.6, 5.2.5, 5.3.1 and 5.2.4.
func oidFreshestCRL() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{2, 5, 29, 46} }
func oidDistributionPoint() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 28} }
func oidReasonCode() asn1.ObjectIdentifier        { return asn1.ObjectIdentifier{2, 5, 29, 21} }
func oidDeltaIndicator() asn1.ObjectIdentifier    { return asn1.ObjectIdentifier{2, 5, 29, 27} }
