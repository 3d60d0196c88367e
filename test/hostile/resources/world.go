package resources

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

const (
	// memoryLimit is GOMEMLIMIT as the chart sets it: limitPercent of 512 MiB.
	limitPercent = 80
	memoryLimit  = 512 << 20 / 100 * limitPercent
	// askTime is longer than the provider takes for any answer.
	askTime = 10 * time.Second
)

// A world is what all attacks have in common: a registry with a healthy image, one that strangers own, and the way to
// the provider.
type world struct {
	fixture *fixture.Fixture
	hostile *registry
	good    string // the fixture's registry by another name than the hostile one's: places are shared out by name
	config  string
	pki     *tls.Config
	plain   *http.Client
	asked   atomic.Int64 // healthy images so far
}

// newWorld starts the registries and writes the configuration.
func newWorld(ctx context.Context, dir string) (w *world, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "fixture"), 0o755); err != nil {
		return nil, err
	}
	w = &world{plain: &http.Client{Timeout: askTime}, config: filepath.Join(dir, "resources.yaml")}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.fixture, err = fixture.Start(ctx, fixture.Options{Dir: filepath.Join(dir, "fixture"), Wrap: oneOfMany}); err != nil {
		return w, err
	}
	if w.pki, err = w.fixture.PKI.ClientTLS(); err != nil {
		return w, err
	}
	if w.hostile, err = newRegistry(ctx, w.fixture); err != nil {
		return w, err
	}
	w.good = strings.Replace(w.fixture.Host, "127.0.0.1", "localhost", 1)
	text := fmt.Sprintf(configuration, w.good, w.hostile.host, w.fixture.SignerFile, w.hostile.authorityFile(dir))
	return w, os.WriteFile(w.config, []byte(text), 0o600)
}

func (w *world) close() {
	if w.hostile != nil {
		w.hostile.close()
	}
	if w.fixture != nil {
		_ = w.fixture.Close()
	}
}

// configuration trusts one signer, and one whose authority answers about revocation in a hostile way. Documents are proven
// by signatures of their own.
const configuration = `stores:
- name: registries
  type: oras
  scopes: ["*"]
  settings:
    registries:
    - {host: %[1]q, plainHTTP: true, allowPrivate: true}
    - {host: %[2]q, plainHTTP: true, allowPrivate: true}
verifiers:
- name: notation
  type: notation
  settings:
    allowPrivateRevocation: true
    trustStores:
    - {type: ca, name: certs, files: [%[3]q, %[4]q]}
    trustPolicy:
      version: "1.0"
      trustPolicies:
      - name: default
        registryScopes: ["*"]
        signatureVerification: {level: strict}
        trustStores: ["ca:certs"]
        trustedIdentities: ["*"]
- name: sbom
  type: sbom
  signedBy: [notation]
  settings:
    licenses: {disallowed: [AGPL-3.0-only]}
policies:
- name: default
  scopes: ["*"]
  verifiers: [notation]
- name: documents
  scopes: ["%[2]s/documents/*"]
  verifiers: [sbom]
`

// healthyPrefix begins the names under which the fixture's signed image is found, as many as are asked for.
const healthyPrefix = "healthy-"

// oneOfMany makes one image many: what is asked of healthy-N is answered by the signed one.
func oneOfMany(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"+healthyPrefix); ok {
			_, rest, _ = strings.Cut(rest, "/")
			r.URL.Path = "/v2/" + fixture.Signed + "/" + rest
		}
		next.ServeHTTP(w, r)
	})
}

// healthy is an image that is well signed and was not asked about before.
func (w *world) healthy() string {
	image := w.fixture.Images[fixture.Signed]
	return fmt.Sprintf("%s/%s%d@%s", w.good, healthyPrefix, w.asked.Add(1), image.Digest)
}

// A target is a provider that is attacked.
type target struct {
	world    *world
	provider *program.Provider
	client   *http.Client // as Gatekeeper is
	filled   time.Time
}

// prepare starts a provider and fills what it keeps.
func (w *world) prepare(ctx context.Context, binary string) (*target, error) {
	p, err := program.Serve(ctx, program.ServeOptions{
		Binary: binary,
		Args: []string{
			"--config=" + w.config, "--cert-dir=" + w.fixture.PKI.CertDir, "--client-ca=" + w.fixture.PKI.ClientCAFile,
		},
		Env: []string{fmt.Sprintf("GOMEMLIMIT=%d", memoryLimit)},
	})
	if err != nil {
		return nil, err
	}
	t := &target{world: w, provider: p, client: w.client()}
	if err := t.fill(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	t.filled = time.Now()
	return t, nil
}

// client asks as Gatekeeper does, over as many connections as there are askers.
func (w *world) client() *http.Client {
	return &http.Client{Timeout: askTime, Transport: &http.Transport{TLSClientConfig: w.pki.Clone(), MaxIdleConnsPerHost: attackers, IdleConnTimeout: time.Second}}
}

// fill asks about images whose content takes more than is kept of it, and then about a healthy one until it is admitted: the
// machine may be busy with the process that was attacked before.
func (t *target) fill(ctx context.Context) error {
	const images, patience = 40, 20
	for i := range images {
		_, _ = t.ask(ctx, t.client, t.world.hostile.key("padded", fmt.Sprint(i), ""))
	}
	var err error
	for range patience {
		var admitted bool
		if admitted, err = t.ask(ctx, t.client, t.world.healthy()); admitted {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("a healthy image was not admitted before any attack: %w", err)
}

// ask asks about images, and tells whether all are admitted. An error is of the way there.
func (t *target) ask(ctx context.Context, client *http.Client, keys ...string) (admitted bool, err error) {
	resp, err := t.post(ctx, client, bytes.NewReader(question(keys)))
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var answer externaldata.ProviderResponse
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&answer); err != nil {
		return false, err
	}
	if answer.Response.SystemError != "" || len(answer.Response.Items) == 0 {
		return false, refusedError(answer.Response.SystemError)
	}
	return !slices.ContainsFunc(answer.Response.Items, func(item externaldata.Item) bool {
		report, ok := item.Value.(map[string]any)
		return !ok || report["isSuccess"] != true
	}), nil
}

// refusedError is a systemError's text.
type refusedError string

func (e refusedError) Error() string { return string(e) }

func question(keys []string) []byte {
	data, err := json.Marshal(externaldata.NewProviderRequest(keys))
	if err != nil {
		panic(err) // texts alone always have a JSON form
	}
	return data
}

func (t *target) post(ctx context.Context, client *http.Client, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.provider.URL(program.VerifyPath), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return client.Do(req)
}

// dial opens a connection to the provider's port, without a word of TLS.
func (t *target) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", t.provider.Address)
}

// dialTLS is dial with a whole handshake, as Gatekeeper.
func (t *target) dialTLS(ctx context.Context) (net.Conn, error) {
	config := t.world.pki.Clone()
	config.ServerName, _, _ = net.SplitHostPort(t.provider.Address)
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", t.provider.Address)
}
