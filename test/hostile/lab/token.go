package lab

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A TokenServer gives tokens for a user name and a password, or to whoever asks (distribution specification, token
// authentication). The tokens are planted secrets of the lab: they may be at the hosts of For and at the server's own, and
// nowhere else. Its fields are set before a host serves it.
type TokenServer struct {
	// User and Password are who may have a token; an empty user is everybody.
	User, Password string
	// Life is how long a token lives; 0 does not say.
	Life time.Duration

	tokens *Secret
	mu     sync.Mutex
	issued map[string]time.Time // when each ends; the zero time is never
}

// TokenServer makes a token server; its tokens may be seen at the hosts of these names.
func (l *Lab) TokenServer(user, password string, hosts ...string) *TokenServer {
	return &TokenServer{User: user, Password: password, tokens: l.Plant("bearer token", hosts...), issued: map[string]time.Time{}}
}

// Allow adds hosts at which its tokens may be seen.
func (s *TokenServer) Allow(hosts ...string) { s.tokens.Allow(hosts...) }

// Step is Token.
func (s *TokenServer) Step(*http.Request) Step { return Token }

// Answer gives a token.
func (s *TokenServer) Answer(x *Exchange) Answer {
	if s.User != "" && !s.knows(x) {
		return Text(http.StatusUnauthorized, "unauthorized")
	}
	answer := map[string]any{"token": s.Issue(), "access_token": ""}
	answer["access_token"] = answer["token"]
	if s.Life > 0 {
		answer["expires_in"] = s.Life.Seconds()
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return Text(http.StatusInternalServerError, err.Error())
	}
	return Answer{http.StatusOK, http.Header{"Content-Type": {"application/json"}}, data}
}

func (s *TokenServer) knows(x *Exchange) bool {
	if x.Authorization() == Basic(s.User, s.Password) {
		return true
	}
	form, err := url.ParseQuery(string(x.Body)) // by OAuth 2, RFC 6749 section 4.3 and 6
	return err == nil && (form.Get("username") == s.User && form.Get("password") == s.Password || form.Get("refresh_token") == s.Password && s.Password != "")
}

// Issue makes a token.
func (s *TokenServer) Issue() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := fmt.Sprintf("%s.%d", s.tokens.Value, len(s.issued))
	s.issued[token] = time.Time{}
	if s.Life > 0 {
		s.issued[token] = time.Now().Add(s.Life)
	}
	return token
}

// Accept tells whether an Authorization holds one of its tokens that has not ended: for Login.
func (s *TokenServer) Accept(authorization, _ string) bool {
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	ends, known := s.issued[token]
	return ok && known && (ends.IsZero() || time.Now().Before(ends))
}

// Expire ends all tokens that were given so far.
func (s *TokenServer) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.issued)
}

// Basic is the Authorization of a user name and a password (RFC 7617).
func Basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// AcceptBasic is for a Login that asks for a user name and a password.
func AcceptBasic(user, password string) func(authorization, repository string) bool {
	return func(authorization, _ string) bool { return authorization == Basic(user, password) }
}
