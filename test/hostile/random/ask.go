package random

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/provider"
	"github.com/ratify-provider/ratify/rule"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/vulnerability"
)

// A subject of the measurement answers requests under the configuration that was installed last.
type answerer interface {
	install(ctx context.Context, configuration []byte) error
	ask(ctx context.Context, request []byte) (status int, body []byte, err error)
}

// answerTime is far beyond what an answer takes: how answers meet their deadline is measured elsewhere.
const answerTime = time.Minute

// shared is what outlives configurations in a process, and is one for all worlds, as it would be.
type shared struct {
	pool       *oras.Pool
	revocation *notation.Revocation
	outcomes   *notation.Outcomes
	sigstore   *sigstore.Shared
}

func newShared() *shared {
	return &shared{
		pool: oras.NewPool(), revocation: notation.NewRevocation(notation.RevocationOptions{}),
		outcomes: notation.NewOutcomes(notation.OutcomesOptions{}), sigstore: sigstore.NewShared(),
	}
}

// An inProcess is the provider's own handler over the engine, as the command puts them together, without TLS.
type inProcess struct {
	shared   *shared
	provider *provider.Provider
	handler  http.Handler
}

func newInProcess(s *shared) *inProcess {
	p := provider.New(provider.Options{VerifyTimeout: answerTime, MutateTimeout: answerTime, Log: zap.NewNop(), Metrics: provider.NewMetrics()})
	return &inProcess{shared: s, provider: p, handler: p.Handler()}
}

func (p *inProcess) install(_ context.Context, configuration []byte) error {
	file, err := config.Parse(configuration)
	if err != nil {
		return err
	}
	setup := ratify.Setup{
		Policies: file.Policies, Exemptions: file.Exemptions, Mirrors: file.Mirrors,
		CompileRule: func(text string) (ratify.Rule, error) { return rule.Compile(text) },
	}
	if file.Tenancy.Enabled {
		setup.Tenancy = &ratify.Tenancy{RefuseWithoutPolicy: file.Tenancy.WithoutPolicy == config.WithoutPolicyRefuse}
	}
	signers := p.shared.sigstore.Configured(time.Duration(file.Cache.RefusalTTL))
	for _, m := range file.Stores {
		store, err := storeOf(m, p.shared.pool)
		if err != nil {
			return err
		}
		setup.Stores = append(setup.Stores, ratify.NamedStore{Name: m.Name, Scopes: m.Scopes, Store: store})
	}
	for _, m := range file.Verifiers {
		v, err := p.verifier(m, signers)
		if err != nil {
			return fmt.Errorf("verifier %q: %w", m.Name, err)
		}
		setup.Verifiers = append(setup.Verifiers, ratify.NamedVerifier{Name: m.Name, Type: m.Type, Verifier: v, SignedBy: m.SignedBy, Evidence: m.Evidence})
	}
	engine, err := ratify.NewEngine(setup)
	if err != nil {
		return err
	}
	p.provider.Install(engine, file)
	return nil
}

func storeOf(m config.Store, pool *oras.Pool) (ratify.Store, error) {
	var c oras.Config
	if err := m.Settings.Decode(&c); err != nil {
		return nil, err
	}
	return oras.New(c, oras.Deps{Pool: pool})
}

// verifier makes a verifier of its settings.
func (p *inProcess) verifier(m config.Verifier, signers *sigstore.Shared) (ratify.Verifier, error) {
	set := &files.Set{}
	switch m.Type {
	case "notation":
		return decoded(m.Settings, func(c notation.Config) (ratify.Verifier, error) {
			return notation.New(c, notation.Deps{Files: set, Revocation: p.shared.revocation, Outcomes: p.shared.outcomes})
		})
	case "cosign":
		return decoded(m.Settings, func(c cosign.Config) (ratify.Verifier, error) {
			return cosign.New(c, cosign.Deps{Files: set, Shared: signers})
		})
	case "attestation":
		return decoded(m.Settings, func(c attestation.Config) (ratify.Verifier, error) {
			return attestation.New(c, attestation.Deps{Files: set, Shared: signers})
		})
	case "sbom":
		return decoded(m.Settings, func(c sbom.Config) (ratify.Verifier, error) {
			return sbom.New(c, sbom.Deps{Files: set, Shared: signers})
		})
	case "vulnerability":
		return decoded(m.Settings, func(c vulnerability.Config) (ratify.Verifier, error) {
			return vulnerability.New(c, vulnerability.Deps{Files: set, Shared: signers})
		})
	}
	return nil, fmt.Errorf("unknown type %q", m.Type)
}

func decoded[C any](settings config.Settings, construct func(C) (ratify.Verifier, error)) (ratify.Verifier, error) {
	var c C
	if err := settings.Decode(&c); err != nil {
		return nil, err
	}
	return construct(c)
}

func (p *inProcess) ask(ctx context.Context, request []byte) (int, []byte, error) {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, provider.VerifyPath, bytes.NewReader(request))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, req)
	return w.Code, w.Body.Bytes(), nil
}

// A released is the program as it is shipped, over TLS.
type released struct {
	program *program.Provider
	client  *http.Client
	path    string // of its configuration
	turn    int
}

// startReleased starts the program with a configuration.
func startReleased(ctx context.Context, binary, dir string, configuration []byte) (*released, error) {
	pki, err := fixture.NewPKI(filepath.Join(dir, "pki"))
	if err != nil {
		return nil, err
	}
	clientTLS, err := pki.ClientTLS()
	if err != nil {
		return nil, err
	}
	r := &released{path: filepath.Join(dir, "config.json"), client: newClient(clientTLS)}
	if err := os.WriteFile(r.path, configuration, 0o600); err != nil {
		return nil, err
	}
	r.program, err = program.Serve(ctx, program.ServeOptions{Binary: binary, LogFile: filepath.Join(dir, "ratify.log"), Args: []string{
		"--config=" + r.path, "--cert-dir=" + pki.CertDir, "--client-ca=" + pki.ClientCAFile, "--client-name=" + fixture.GatekeeperName,
		"--verify-timeout=" + answerTime.String(), "--log-level=info",
	}})
	return r, err
}

func newClient(c *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c}, Timeout: 2 * answerTime}
}

func (r *released) close() error {
	r.client.CloseIdleConnections()
	return r.program.Stop()
}

// install replaces the file and waits until the program says that it has read it.
func (r *released) install(ctx context.Context, configuration []byte) error {
	since := r.program.Lines()
	next := r.path + ".next"
	// A file with the same bytes is no change: it ends with one line more or less than the one before.
	if r.turn++; r.turn%2 == 1 {
		configuration = append(bytes.Clone(configuration), '\n')
	}
	if err := os.WriteFile(next, configuration, 0o600); err != nil {
		return err
	}
	if err := os.Rename(next, r.path); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	record, err := r.program.Wait(ctx, since, func(record program.Record) bool {
		return record.Msg == "reloaded" || record.Msg == "reload failed, the last good one stays in force"
	})
	if err == nil && record.Msg != "reloaded" {
		err = fmt.Errorf("%s", record.Line)
	}
	return err
}

func (r *released) ask(ctx context.Context, request []byte) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.program.URL(program.VerifyPath), bytes.NewReader(request))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	return resp.StatusCode, body, err
}
