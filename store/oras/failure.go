package oras

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/netguard"
)

// statusError is an answer that is not the one asked for. The body, which the registry chooses, is not part of it.
type statusError struct {
	status int
	token  bool // it is the token server's
}

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d %s", e.status, http.StatusText(e.status))
}

// outsideError makes the text of a cause fit for a log. What a server has answered may repeat the credential, and net/http
// puts it into its errors: the line of a status, a header that is malformed, the reason of an end of HTTP/2. So the text is
// shown of those errors alone that are made on this side, and of others their type.
type outsideError struct{ err error }

func (e outsideError) Error() string {
	if isOwn(e.err) {
		return ratify.Quote(e.err.Error())
	}
	root := e.err
	for inner := errors.Unwrap(root); inner != nil; inner = errors.Unwrap(root) {
		root = inner
	}
	return fmt.Sprintf("an error of the type %T", root)
}

func (e outsideError) Unwrap() error { return e.err }

// isOwn tells an error that holds nothing of what a server has sent but its certificate, which comes before every secret.
func isOwn(err error) bool {
	var (
		errno     syscall.Errno
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     tls.AlertError
		forbidden *netguard.ForbiddenError
		proxy     *proxyError
		status    *statusError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &errno), errors.As(err, &dns), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid),
		errors.As(err, &alert), errors.As(err, &forbidden), errors.As(err, &proxy), errors.As(err, &status):
		return true
	case errors.As(err, &timeout) && timeout.Timeout():
		return true
	}
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded, http.ErrSchemeMismatch, net.ErrClosed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func (s *session) quotedName() string { return "registry " + ratify.Truncate(s.host) }

// name says whose answer it is that came from a URL.
func (s *session) name(u *url.URL) string {
	if u == nil || origin(u) == s.origin {
		return s.quotedName()
	}
	return ratify.Quote(u.Host) + ", to which " + s.quotedName() + " leads,"
}

// failure gives an error its code and its words: it is the only place that does, for whatever went wrong with a request.
// An end of ctx, not of a bound of ours, stays the context's error.
func (s *session) failure(ctx context.Context, err error) error {
	var known *ratify.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, content.ErrTooLarge):
		return err // the caller knows what it was that it read
	}
	if ctx.Err() != nil {
		return fmt.Errorf("read from %s: %w", s.quotedName(), ctx.Err())
	}
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		// Only the request for a token is oras-go's own. What the server wrote may repeat the credential.
		err = &statusError{status: answer.StatusCode, token: true}
	}
	var status *statusError
	if errors.As(err, &status) {
		return s.statusFailure(status)
	}
	if errors.Is(err, auth.ErrBasicCredentialNotFound) {
		e := &ratify.Error{Code: ratify.RegistryAuth, Message: s.quotedName() + " asks for a password, and none is configured", Remedy: s.authRemedy(), Err: err}
		s.refuse(e, false)
		return e
	}
	return s.networkFailure(err)
}

func (s *session) statusFailure(e *statusError) *ratify.Error {
	who := s.quotedName()
	if e.token {
		who = s.tokenServer()
	}
	failure := &ratify.Error{
		Code:    ratify.RegistryInvalid,
		Message: fmt.Sprintf("%s answered %d %s", who, e.status, http.StatusText(e.status)),
		Err:     e,
	}
	switch {
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		failure.Code, failure.Remedy = ratify.RegistryAuth, s.authRemedy()
		s.rememberRefusal(failure, e)
	case e.status == http.StatusTooManyRequests:
		failure.Code = ratify.RateLimited
	case e.status == http.StatusBadRequest && strings.HasPrefix(s.origin, "http:"):
		// How servers that speak TLS answer a request that is not encrypted.
		failure.Remedy = "leave plainHTTP out for this registry in the store's settings, if it speaks TLS"
	case e.status == http.StatusRequestTimeout, e.status >= 500:
		failure.Code = ratify.RegistryUnavailable
	}
	return failure
}

// rememberRefusal keeps a refused credential from being tried again at once. A 403 of the registry refuses a right and
// not the credential.
func (s *session) rememberRefusal(failure *ratify.Error, e *statusError) {
	if e.status != http.StatusUnauthorized && !e.token {
		return
	}
	scheme, _ := s.pool.schemes.Get(s.key + hostOf(s.origin))
	// A token server's 403 may be about the repository that was asked for; its 401 is about the one who asks.
	s.refuse(failure, e.token && e.status == http.StatusUnauthorized || scheme == auth.SchemeBasic)
}

func hostOf(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return u.Host
}

func (s *session) authRemedy() string {
	if s.cred == auth.EmptyCredential {
		return "check that the image exists, and configure credentials for this registry in the store's settings if it is private"
	}
	return "check that the image exists, and that the configured credentials are valid and may read this repository"
}

// networkFailure tells what went wrong on the way.
func (s *session) networkFailure(err error) *ratify.Error {
	who := s.quotedName()
	var request *url.Error
	var body *bodyError
	onTheWay := errors.As(err, &body)
	if errors.As(err, &request) {
		onTheWay = true
		// The address is left out of the cause: that of a redirect may hold a signature.
		if u, parseErr := url.Parse(request.URL); parseErr == nil {
			who = s.name(u)
		}
		err = request.Err
	}
	if body != nil && body.from != "" {
		who = body.from
	}
	e := &ratify.Error{Code: ratify.RegistryUnavailable, Err: outsideError{err}}
	var forbidden *netguard.ForbiddenError
	var malformed *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch words, remedy := connectionWords(err); {
	case errors.As(err, &forbidden):
		s.forbid(e, forbidden, who)
	case words != "":
		e.Message, e.Remedy = who+" "+words, remedy
	case errors.As(err, &malformed), errors.As(err, &mistyped), !onTheWay:
		e.Code, e.Message = ratify.RegistryInvalid, who+" gave an answer that is malformed"
	default:
		e.Message = who + " could not be read from"
	}
	return e
}

func (s *session) forbid(e *ratify.Error, forbidden *netguard.ForbiddenError, who string) {
	e.Code = ratify.RegistryNotAllowed
	e.Message = fmt.Sprintf("%s is at a %s address, which is not allowed", who, forbidden.Class)
	e.Remedy = "nothing allows such an address; check the registry's name"
	if forbidden.Private {
		e.Remedy = fmt.Sprintf("if it is meant, set allowPrivate for %s in the store's settings", s.quotedName())
	}
}

// connectionWords puts the errors of the standard library into words; they hold nothing from outside. Empty words mean
// that it is none of them.
func connectionWords(err error) (words, remedy string) {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		proxy     *proxyError
		alert     tls.AlertError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &proxy):
		return fmt.Sprintf("cannot be reached: its proxy answered %d %s", proxy.status, http.StatusText(proxy.status)), "check proxy of this registry in the store's settings"
	case errors.As(err, &dns):
		return "cannot be reached: its name cannot be resolved", "check the registry's name and the cluster's DNS"
	case errors.As(err, &authority):
		return "has a certificate that no trusted authority signed", "set caFile for this registry in the store's settings, if it has a CA of its own"
	case errors.As(err, &hostname):
		return "has a certificate for another name", ""
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "has a certificate that has expired or is not yet valid", ""
	case errors.As(err, &invalid):
		return "has a certificate that is not valid", ""
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "does not speak TLS", "set plainHTTP for this registry in the store's settings, if it is meant"
	case errors.As(err, &alert):
		return "and this program do not agree on TLS (1.2 or later is needed)", ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return "cannot be reached: it refused the connection", ""
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "cut its answer short", ""
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time", ""
	}
	return "", ""
}
