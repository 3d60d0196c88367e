package notation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

// A singleStatus is what an OCSP responder says of one certificate.
type singleStatus struct {
	status int // ocsp.Good, ocsp.Revoked or ocsp.Unknown
	// invalidity is when the key is thought to have been compromised, if the responder tells.
	invalidity time.Time
}

// oidInvalidityDate is the extension of RFC 5280 section 5.3.2, which responders use as well.
func isInvalidityDate(oid asn1.ObjectIdentifier) bool {
	return oid.Equal(asn1.ObjectIdentifier{2, 5, 29, 24})
}

// maxOCSPGet is how long the encoded request may be for GET, which caches on the way can answer (RFC 6960 appendix A.1).
const maxOCSPGet = 255

// askOCSP asks the responders that the certificate names, in order, until one answers.
func (r *Revocation) askOCSP(ctx context.Context, cert, issuer *x509.Certificate, allowPrivate bool) (answer, error) {
	if len(cert.OCSPServer) > maxServers {
		return answer{}, fmt.Errorf("the certificate names %d OCSP responders, more than %d", len(cert.OCSPServer), maxServers)
	}
	var failures []error
	for _, server := range cert.OCSPServer {
		if err := checkURL(server); err != nil {
			failures = append(failures, err)
			continue
		}
		key := fmt.Sprintf("ocsp %t %s %s %s", allowPrivate, fingerprint(cert.Raw), fingerprint(issuer.Raw), server)
		a, err := r.ask(ctx, key, server, func(ctx context.Context) (answer, error) {
			return r.fetchOCSP(ctx, cert, issuer, server, allowPrivate)
		})
		if err == nil {
			return a, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return answer{}, errors.Join(failures...)
}

func (r *Revocation) fetchOCSP(ctx context.Context, cert, issuer *x509.Certificate, server string, allowPrivate bool) (answer, error) {
	// SHA-1 names the issuer here and protects nothing; many responders know no other hash (RFC 5019 section 2.1.1).
	question, err := ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		return answer{}, err
	}
	req, err := ocspHTTPRequest(ctx, server, question)
	if err != nil {
		return answer{}, err
	}
	body, err := r.do(req, allowPrivate, maxOCSPBytes)
	if err != nil {
		return answer{}, err
	}
	resp, err := ocsp.ParseResponseForCert(body, cert, issuer)
	if err != nil {
		return answer{}, fmt.Errorf("OCSP responder %s: %w", req.URL.Host, err)
	}
	now := r.now()
	if err := checkResponder(resp, issuer, now); err != nil {
		return answer{}, fmt.Errorf("OCSP responder %s: %w", req.URL.Host, err)
	}
	if err := checkUpdates(now, resp.ThisUpdate, resp.NextUpdate); err != nil {
		return answer{}, fmt.Errorf("OCSP responder %s: %w", req.URL.Host, err)
	}
	single := &singleStatus{status: resp.Status}
	if single.invalidity, err = invalidityDate(resp.Extensions); err != nil {
		return answer{}, fmt.Errorf("OCSP responder %s: %w", req.URL.Host, err)
	}
	return answer{single: single, thisUpdate: resp.ThisUpdate, until: resp.NextUpdate}, nil
}

func ocspHTTPRequest(ctx context.Context, server string, question []byte) (*http.Request, error) {
	encoded := url.QueryEscape(base64.StdEncoding.EncodeToString(question))
	if len(encoded) < maxOCSPGet && !strings.ContainsAny(server, "?#") {
		return http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/"+encoded, nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	return req, nil
}

// checkResponder refuses an answer by a certificate of the issuer that may not give it (RFC 6960 section 4.2.2.2). The
// parser checks its signature alone, so that whoever holds any certificate of the issuer, a revoked one for instance,
// could vouch for it.
func checkResponder(resp *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	responder := resp.Certificate
	switch {
	case responder == nil || bytes.Equal(responder.Raw, issuer.Raw):
		return nil
	case !bytes.Equal(responder.RawIssuer, issuer.RawSubject) || !slices.Contains(responder.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("the answer is signed by a certificate that may not sign such answers")
	case now.Before(responder.NotBefore) || now.After(responder.NotAfter):
		return errors.New("the answer is signed by a certificate outside its validity")
	}
	return nil
}

// invalidityDate finds the invalidity date among extensions; zero if there is none.
func invalidityDate(extensions []pkix.Extension) (time.Time, error) {
	for _, ext := range extensions {
		if !isInvalidityDate(ext.Id) {
			continue
		}
		var date time.Time
		rest, err := asn1.UnmarshalWithParams(ext.Value, &date, "generalized")
		if err != nil || len(rest) > 0 {
			return time.Time{}, errors.New("malformed invalidity date")
		}
		return date, nil
	}
	return time.Time{}, nil
}

func fingerprint(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
