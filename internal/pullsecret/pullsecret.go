// Package pullsecret reads the pull secrets of a namespace from the Kubernetes API server: those that its service account
// names. It is how a tenant's images are read with the tenant's own credentials.
//
// It asks for one service account and for the Secrets that this names, with the verb get alone: nothing is listed or
// watched, so that a Role of two lines is enough, and a namespace without such a Role keeps its Secrets to itself.
// What a pod names in its own imagePullSecrets is not known here: Gatekeeper's question holds no more than the image.
//
// It speaks to the API server by net/http: two requests need no client library. Begin at New and Client.Get.
package pullsecret

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/cache"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/keyring"
)

const (
	// DefaultServiceAccount is the account of pods that name none.
	DefaultServiceAccount = "default"
	// Where the kubelet mounts a pod's own identity.
	accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"
	defaultTokenFile = accountDirectory + "/token"
	defaultCAFile    = accountDirectory + "/ca.crt"

	// timeout bounds what is asked for one namespace, all together: an API server in health answers in milliseconds.
	timeout = 5 * time.Second
	// maxSecrets bounds the Secrets of one account: it has one for each registry, and each costs a request.
	maxSecrets = 10
	// maxObjectBytes bounds an answer: a Secret holds at most 1 MiB (core/v1 MaxSecretSize), which base64 makes 1.4.
	maxObjectBytes = 2 << 20

	// keepFor is how long the answer for a namespace is kept; a Secret that was replaced is used a minute later.
	keepFor = time.Minute
	// retryAfter is how long a failure is, and that there is nothing: somebody may be about to mend it.
	retryAfter = 5 * time.Second
	// maxNamespaces and maxCacheBytes bound what is kept; large clusters have a thousand namespaces, with a few KiB each.
	maxNamespaces = 4096
	maxCacheBytes = 16 << 20
)

// Settings say where the API server is. Empty fields mean what a pod finds around itself.
type Settings struct {
	// APIServer is the URL of the API server, https://host[:port].
	APIServer string
	// TokenFile holds the token of ratify's own service account, CAFile the CA of the API server. They are read again for
	// each question, as they rotate.
	TokenFile, CAFile string
	// ServiceAccount is the name of the account whose pull secrets are read.
	ServiceAccount string
}

// A Client reads pull secrets, and keeps them for a while. It is safe for concurrent use.
type Client struct {
	settings Settings
	answers  *cache.Cache[kept]
	flights  singleflight.Group

	mu        sync.Mutex // guards what follows
	caPEM     []byte
	transport *http.Transport

	// The constants above, shorter in tests.
	keepFor, retryAfter time.Duration
}

// A Secret is a pull secret as it can be used.
type Secret struct {
	Name string
	Ring keyring.Ring
}

// An Answer is what a namespace has. Problems say of Secrets that are named and cannot be used why that is, for people.
type Answer struct {
	Secrets  []Secret
	Problems []string
}

type kept struct {
	answer Answer
	err    error
}

func (k kept) bytes() int64 {
	size := int64(256)
	for _, s := range k.answer.Secrets {
		size += s.Ring.Bytes() + int64(len(s.Name))
	}
	for _, p := range k.answer.Problems {
		size += int64(len(p))
	}
	return size
}

// New checks the settings and fills in what a pod has around it. It asks nothing.
func New(s Settings) (*Client, error) {
	if s.TokenFile == "" {
		s.TokenFile = defaultTokenFile
	}
	if s.CAFile == "" {
		s.CAFile = defaultCAFile
	}
	if s.ServiceAccount == "" {
		s.ServiceAccount = DefaultServiceAccount
	}
	if !isSubdomain(s.ServiceAccount) {
		return nil, fmt.Errorf("serviceAccount: %s is no name of a service account", ratify.Quote(s.ServiceAccount))
	}
	if s.APIServer == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("apiServer: it is needed outside of a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
		}
		s.APIServer = "https://" + net.JoinHostPort(host, port)
	}
	u, err := url.Parse(s.APIServer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("apiServer: it is no URL of the form https://host:port")
	}
	s.APIServer = "https://" + u.Host
	return &Client{
		settings: s, answers: cache.New(maxNamespaces, maxCacheBytes, kept.bytes),
		keepFor: keepFor, retryAfter: retryAfter,
	}, nil
}

// isSubdomain tells a name that a Secret or a service account can have.
func isSubdomain(s string) bool {
	return len(s) <= 253 && regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`).MatchString(s)
}

// Get returns the pull secrets of a namespace, in the order in which its service account names them. None is no error.
// Callers who ask at the same time share one answer, and none of them can end it for the others. Errors say what is wrong
// and hold nothing of a Secret; they are the context's where it ends first.
func (c *Client) Get(ctx context.Context, namespace string) (Answer, error) {
	if err := ratify.CheckNamespace(namespace); err != nil {
		return Answer{}, err // it could lead elsewhere in a URL
	}
	if k, ok := c.answers.Get(namespace); ok {
		return k.answer, k.err
	}
	done := c.flights.DoChan(namespace, func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		answer, err := c.read(shared, namespace)
		ttl := c.keepFor
		if err != nil || len(answer.Secrets) == 0 || len(answer.Problems) > 0 {
			ttl = c.retryAfter
		}
		k := kept{answer, err}
		c.answers.Set(namespace, k, ttl)
		return k, nil
	})
	select {
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	case result := <-done:
		k := result.Val.(kept)
		return k.answer, k.err
	}
}

// errNotFound says that an object is not there.
var errNotFound = errors.New("there is none")

func (c *Client) read(ctx context.Context, namespace string) (Answer, error) {
	s, err := c.begin()
	if err != nil {
		return Answer{}, err
	}
	var account struct {
		ImagePullSecrets []struct {
			Name string `json:"name"`
		} `json:"imagePullSecrets"`
	}
	place := "/api/v1/namespaces/" + namespace
	if err := s.get(ctx, place+"/serviceaccounts/"+c.settings.ServiceAccount, &account); err != nil {
		if errors.Is(err, errNotFound) {
			return Answer{}, nil // a namespace that is being made, or is no namespace
		}
		return Answer{}, fmt.Errorf("read service account %s of namespace %s: %w", c.settings.ServiceAccount, namespace, err)
	}
	var answer Answer
	if len(account.ImagePullSecrets) > maxSecrets {
		answer.Problems = append(answer.Problems, fmt.Sprintf("service account %s names more than %d pull secrets; the rest is not read", c.settings.ServiceAccount, maxSecrets))
		account.ImagePullSecrets = account.ImagePullSecrets[:maxSecrets]
	}
	for _, named := range account.ImagePullSecrets {
		if !isSubdomain(named.Name) {
			answer.Problems = append(answer.Problems, fmt.Sprintf("%s is no name of a Secret", ratify.Quote(named.Name)))
			continue
		}
		ring, problem, err := s.secret(ctx, place+"/secrets/"+named.Name)
		switch {
		case err != nil:
			return Answer{}, fmt.Errorf("read Secret %s of namespace %s: %w", named.Name, namespace, err)
		case problem != "":
			answer.Problems = append(answer.Problems, "Secret "+named.Name+" "+problem)
		default:
			answer.Secrets = append(answer.Secrets, Secret{Name: named.Name, Ring: ring})
		}
	}
	return answer, nil
}

// session is one question: under one token, and to a server that one CA vouches for.
type session struct {
	server, token string
	client        *http.Client
}

// begin reads what may have rotated. The files are not among those whose change makes a new configuration: a token
// changes every hour, and nothing else does.
func (c *Client) begin() (*session, error) {
	var set files.Set
	token, err := set.Read(c.settings.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("read the token for the API server: %w", err)
	}
	text := strings.TrimSpace(string(token))
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, fmt.Errorf("read the token for the API server: %s holds none", c.settings.TokenFile)
	}
	caPEM, err := set.Read(c.settings.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA of the API server: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport == nil || !bytes.Equal(caPEM, c.caPEM) {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(caPEM) {
			return nil, fmt.Errorf("read the CA of the API server: %s holds no PEM certificate", c.settings.CAFile)
		}
		if c.transport != nil {
			c.transport.CloseIdleConnections()
		}
		c.caPEM, c.transport = caPEM, newTransport(roots)
	}
	return &session{server: c.settings.APIServer, token: text, client: &http.Client{
		Transport: c.transport,
		// An API server sends nobody elsewhere, and the token would go along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// newTransport knows no proxy: the API server is near.
func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
	}
}

// get reads one object.
func (s *session) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "ratify")
	resp, err := s.client.Do(req)
	if err != nil {
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err
		}
		return fmt.Errorf("the API server cannot be reached: %s", ratify.Quote(err.Error()))
	}
	defer resp.Body.Close()
	data, err := content.Read(resp.Body, maxObjectBytes)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return errNotFound
	case resp.StatusCode == http.StatusForbidden:
		return errors.New("the API server does not allow it: a Role must allow ratify's service account to get it")
	case resp.StatusCode == http.StatusUnauthorized:
		return errors.New("the API server does not accept the token of ratify's service account")
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the API server answered %d", resp.StatusCode)
	case errors.Is(err, content.ErrTooLarge):
		return fmt.Errorf("the API server's answer is longer than %d bytes", maxObjectBytes)
	case err != nil:
		return errors.New("the API server cut its answer short")
	case json.Unmarshal(data, into) != nil:
		return errors.New("the API server's answer is malformed")
	}
	return nil
}

// The types of Secrets that hold credentials of registries, and where in them.
const (
	typeDockerConfigJSON = "kubernetes.io/dockerconfigjson"
	typeDockerConfig     = "kubernetes.io/dockercfg"
	keyDockerConfigJSON  = ".dockerconfigjson"
	keyDockerConfig      = ".dockercfg"
)

// secret reads a Secret; a problem is one of the Secret and spoils no other. A Secret that is not there is one: the kubelet
// goes on without it, too.
func (s *session) secret(ctx context.Context, path string) (ring keyring.Ring, problem string, err error) {
	var object struct {
		Type string            `json:"type"`
		Data map[string][]byte `json:"data"`
	}
	if err := s.get(ctx, path, &object); err != nil {
		if errors.Is(err, errNotFound) {
			return ring, "is not there", nil
		}
		return ring, "", err
	}
	var text []byte
	switch object.Type {
	case typeDockerConfigJSON:
		text = object.Data[keyDockerConfigJSON]
	case typeDockerConfig:
		text = object.Data[keyDockerConfig]
	default:
		return ring, "is not of the type " + typeDockerConfigJSON, nil
	}
	ring, err = keyring.Parse(text)
	if err != nil {
		return ring, "is of no use: " + strings.ReplaceAll(err.Error(), "\n", "; "), nil
	}
	return ring, "", nil
}
