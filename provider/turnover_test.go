package provider

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// While client CAs rotate, connections end with an answer, so that the client shows the certificate that it has by then.
func TestConnectionsTurnOverWhileClientCAsRotate(t *testing.T) {
	i := install(t)
	next := newAuthority(t, "next gatekeeper-ca")
	for name, test := range map[string]struct {
		ca   []byte
		age  time.Duration
		want string
	}{
		"one CA, an old connection":   {i.clientCA.pem, time.Hour, ""},
		"both CAs, a new connection":  {slices.Concat(next.pem, i.clientCA.pem), 0, ""},
		"both CAs, an old connection": {slices.Concat(i.clientCA.pem, next.pem), turnover + time.Second, "close"},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, i.dir, map[string][]byte{"ca.crt": test.ca})
			certificates, err := NewTLS(TLSOptions{CertDir: i.dir, ClientCA: filepath.Join(i.dir, "ca.crt"), ClientNames: []string{gatekeeperName}}, NewMetrics())
			if err != nil {
				t.Fatal(err)
			}
			c := certificates.current.Load()
			a := &admission{since: time.Now().Add(-test.age)}
			a.last.Store(&admitted{by: c, from: time.Now().Add(-time.Hour), to: time.Now().Add(time.Hour)})
			request := httptest.NewRequestWithContext(context.WithValue(t.Context(), admissionKey{}, a), http.MethodPost, VerifyPath, nil)
			request.TLS = &tls.ConnectionState{}
			answer := httptest.NewRecorder()
			certificates.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }), http.NotFoundHandler()).ServeHTTP(answer, request)
			if got := answer.Header().Get("Connection"); answer.Code != http.StatusTeapot || got != test.want {
				t.Errorf("%d, Connection: %q; want it answered, and %q", answer.Code, got, test.want)
			}
		})
	}
}
