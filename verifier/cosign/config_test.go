package cosign_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// settings decodes what an operator writes, the way the configuration file is decoded.
func settings(t testing.TB, text string) (cosign.Config, error) {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	var cfg cosign.Config
	err := config.NewSettings(`verifiers[0] "cosign"`, value).Decode(&cfg)
	return cfg, err
}

// TestSettings: whom to trust stands in the settings themselves, not a level below.
func TestSettings(t *testing.T) {
	cfg, err := settings(t, `
keys:
- {name: ci, file: /etc/ratify/cosign.pub}
identities:
- {issuer: https://token.actions.githubusercontent.com, subjectPattern: '^https://github\.com/acme/.+$'}
- {issuerPattern: '^https://token\.[a-z]+\.example$', subject: release@example.com}
trustedRoot: /etc/ratify/trusted_root.json
thresholds: {transparencyLogs: 2, certificateLogs: 0, timestamps: 1}
cosignTags: true
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Keys) != 1 || cfg.Keys[0].Name != "ci" || cfg.Keys[0].File != "/etc/ratify/cosign.pub" || len(cfg.Identities) != 2 ||
		cfg.Identities[0].SubjectPattern == "" || cfg.Identities[1].IssuerPattern == "" || cfg.Identities[1].Subject == "" ||
		cfg.TrustedRoot == "" || *cfg.Thresholds.TransparencyLogs != 2 || *cfg.Thresholds.CertificateLogs != 0 || *cfg.Thresholds.Timestamps != 1 || !cfg.CosignTags {
		t.Errorf("%+v", cfg)
	}
	// Every field of the settings was written above, so that a new one is thought of here.
	if n := reflect.TypeOf(cfg.Trust).NumField(); n != 5 {
		t.Errorf("trust has %d fields, and 5 are tested", n)
	}
	_, err = settings(t, "keyz: []\nidentities: [{isuer: x}]\nthresholds: {logs: 1}\n")
	for _, want := range []string{`"keyz"`, `"isuer"`, `"logs"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s in it", err, want)
		}
	}
}

func TestRefusedSettings(t *testing.T) {
	if v, err := cosign.New(cosign.Config{}, cosign.Deps{}); v != nil || err == nil || !strings.Contains(err.Error(), "nobody is trusted") {
		t.Errorf("%v: %v", v, err)
	}
}

// TestWarnings: the operator is told of identities that name nobody.
func TestWarnings(t *testing.T) {
	instance, err := cosigntest.NewSigstore("ours")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cosigntest.TrustedRoot(instance)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(path, root, 0o600); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]int{`^https://.*$`: 1, `^https://ci\.example/.*$`: 0} {
		v, err := cosign.New(cosign.Config{Trust: sigstore.Trust{TrustedRoot: path, Identities: []sigstore.Identity{{IssuerPattern: `^https://.*$`, SubjectPattern: pattern}}}}, cosign.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if warnings := v.Warnings(); len(warnings) != want {
			t.Errorf("%s: %q", pattern, warnings)
		}
	}
}
