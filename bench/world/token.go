package world

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A tokenServer gives bearer tokens to everybody, as public registries do for public images. A token says itself what it is
// for and when it ends, under a key of this registry.
type tokenServer struct {
	realm, service, host string
	key                  []byte
	life                 atomic.Int64 // of a token, in nanoseconds; 0: none is asked for
}

func (t *tokenServer) setLife(life time.Duration) { t.life.Store(int64(life)) }

func randomText() string { return rand.Text() }

// challenge is what a request without a good token is told.
func (t *tokenServer) challenge(repository string) string {
	text := fmt.Sprintf("Bearer realm=%q,service=%q", t.realm, t.service)
	if repository != "" {
		text += fmt.Sprintf(",scope=%q", scopeOf(repository))
	}
	return text
}

func scopeOf(repository string) string { return "repository:" + repository + ":pull" }

// admits tells whether the header holds a token for the repository, or none is asked for.
func (t *tokenServer) admits(authorization, repository string, now time.Time) bool {
	if t.life.Load() == 0 {
		return true
	}
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	encoded, sum, _ := strings.Cut(token, ".")
	if !ok || !hmac.Equal([]byte(sum), []byte(t.sum(encoded))) {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return false
	}
	ends, scopes, _ := strings.Cut(string(text), " ")
	nanos, err := strconv.ParseInt(ends, 10, 64)
	if err != nil || now.UnixNano() > nanos {
		return false
	}
	return repository == "" || slices.Contains(strings.Fields(scopes), scopeOf(repository))
}

func (t *tokenServer) sum(encoded string) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(encoded))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (t *tokenServer) issue(scopes []string, now time.Time) []byte {
	life := time.Duration(t.life.Load())
	text := strconv.FormatInt(now.Add(life).UnixNano(), 10) + " " + strings.Join(scopes, " ")
	encoded := base64.RawURLEncoding.EncodeToString([]byte(text))
	body, _ := json.Marshal(map[string]any{ // strings and a number always have a JSON form
		"token": encoded + "." + t.sum(encoded), "expires_in": int(life.Seconds()), "issued_at": now.UTC().Format(time.RFC3339Nano),
	})
	return body
}

// serveToken answers the token server's one question. A request that is not for it is answered 404.
func (r *Registry) serveToken(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	if err := req.ParseForm(); err != nil || req.URL.Path != "/token" {
		r.conclude(w, req, began, "", answer{kind: Other, status: http.StatusNotFound})
		return
	}
	var scopes []string
	for _, text := range req.Form["scope"] {
		scopes = append(scopes, strings.Fields(text)...)
	}
	repository := ""
	if len(scopes) == 1 {
		repository = strings.TrimSuffix(strings.TrimPrefix(scopes[0], "repository:"), ":pull")
	}
	r.conclude(w, req, began, repository, answer{kind: Token, status: http.StatusOK, entry: entry{mediaType: "application/json", body: r.tokens.issue(scopes, began)}})
}
