package sigstore_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// conformanceVariable names a folder of bundle verification cases of the public suite sigstore-conformance
// (test/assets/bundle-verify), one folder a case; what must not verify ends in _fail.
const conformanceVariable = "SIGSTORE_CONFORMANCE"

// What a case verifies with where it brings nothing of its own.
const (
	conformanceIdentity = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
	conformanceIssuer   = "https://token.actions.githubusercontent.com"
)

// notApplicable are the cases that do not say anything about this package, each with the reason. There is none.
var notApplicable = map[string]string{}

// TestConformance runs each case the way an image's evidence goes: the artifact is the subject, the bundle a referrer.
func TestConformance(t *testing.T) {
	dir := os.Getenv(conformanceVariable)
	if dir == "" {
		// The cases are another project's, and its own to change: they are not kept here, and nothing is fetched by a test.
		t.Skip("not run, for the cases are another project's: " + conformanceVariable + " names no folder with those of sigstore-conformance")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	publicGood := filepath.Join(strings.TrimSpace(string(out)), "examples", "trusted-root-public-good.json")
	cases, err := filepath.Glob(filepath.Join(dir, "*", "bundle.sigstore.json"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	passed := 0
	for _, path := range cases {
		c := conformanceCase{dir: filepath.Dir(path), publicGood: publicGood}
		name := filepath.Base(c.dir)
		if reason, ok := notApplicable[name]; ok {
			t.Logf("%s does not apply: %s", name, reason)
			continue
		}
		t.Run(name, func(t *testing.T) {
			signer, err := c.verify(t)
			switch fails := strings.HasSuffix(name, "_fail"); {
			case fails && err == nil:
				t.Errorf("verified as %s, and must not", signer)
			case !fails && err != nil:
				t.Errorf("must verify: %v", err)
			case fails:
				t.Logf("refused: %v", err)
			}
			if !t.Failed() {
				passed++
			}
		})
	}
	t.Logf("%d of %d cases of sigstore-conformance passed, %d do not apply", passed, len(cases)-len(notApplicable), len(notApplicable))
}

type conformanceCase struct{ dir, publicGood string }

// text is what is in the case's file, or what is otherwise meant.
func (c conformanceCase) text(name, otherwise string) string {
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		return otherwise
	}
	return strings.TrimSpace(string(data))
}

func (c conformanceCase) trust() sigstore.Trust {
	one := 1
	trust := sigstore.Trust{TrustedRoot: c.publicGood}
	if path := filepath.Join(c.dir, "trusted_root.json"); exists(path) {
		trust.TrustedRoot = path
	}
	if path := filepath.Join(c.dir, "key.pub"); exists(path) {
		trust.Keys = []sigstore.Key{{Name: "managed", File: path}}
		trust.Thresholds.TransparencyLogs = &one
		return trust
	}
	trust.Identities = []sigstore.Identity{{Issuer: c.text("issuer", conformanceIssuer), Subject: c.text("identity", conformanceIdentity)}}
	return trust
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (c conformanceCase) verify(t *testing.T) (sigstore.Signer, error) {
	v, err := sigstore.New(c.trust(), nil, nil)
	if err != nil {
		return sigstore.Signer{}, err // a trusted root that must not be accepted
	}
	bundle, err := os.ReadFile(filepath.Join(c.dir, "bundle.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	artifact, err := os.ReadFile(filepath.Join(c.dir, "artifact"))
	if err != nil {
		if artifact, err = os.ReadFile(filepath.Join(filepath.Dir(c.dir), "a.txt")); err != nil {
			t.Fatal(err)
		}
	}
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(artifact), Size: int64(len(artifact))}
	attached := cosigntest.AttachBundle(subject, bundle)
	repo := newRepository(attached)
	repo.Blobs[subject.Digest] = artifact
	signer, err := v.Signature(t.Context(), subject, attached.Descriptor, repo)
	if errors.Is(err, ratify.ErrOtherKind) {
		_, signer, err = v.Statement(t.Context(), subject, attached.Descriptor, repo)
	}
	return signer, err
}
