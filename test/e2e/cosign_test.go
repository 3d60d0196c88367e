package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/fixture"
)

// A cosignCommand is cosign's own program, with two pairs of keys that it made.
type cosignCommand struct {
	binary, dir       string
	trusted, stranger cosignKey
}

// A cosignKey is a file with a private key, and the public one in PEM.
type cosignKey struct{ file, public string }

func newCosign(t *testing.T, dir string) *cosignCommand {
	t.Helper()
	binaries, err := cluster.Build(t.Context(), progress, "cosign")
	if err != nil {
		t.Fatal(err)
	}
	c := &cosignCommand{binary: binaries["cosign"], dir: filepath.Join(dir, "cosign")}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.trusted, c.stranger = c.key(t, "trusted"), c.key(t, "stranger")
	return c
}

func (c *cosignCommand) key(t *testing.T, name string) cosignKey {
	t.Helper()
	c.run(t, "generate-key-pair", "--output-key-prefix="+name)
	public, err := os.ReadFile(filepath.Join(c.dir, name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	return cosignKey{file: filepath.Join(c.dir, name+".key"), public: string(public)}
}

// run runs cosign, which reaches this machine and nothing else: there is nobody at its proxy.
func (c *cosignCommand) run(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "DOCKER_CONFIG="+c.dir, "COSIGN_PASSWORD=", "HTTP_PROXY=http://127.0.0.1:9", "HTTPS_PROXY=http://127.0.0.1:9")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cosign %v: %v\n%s", args, err, out)
	}
}

// offline are the flags without which cosign would ask the public Sigstore.
func offline(key cosignKey, format string, image fixture.Image) []string {
	return []string{"--key=" + key.file, "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=" + format,
		"--allow-http-registry", "--yes", image.Pinned()}
}

// sign signs in the format of bundles ("true"), or as cosign did before version 3 ("false").
func (c *cosignCommand) sign(t *testing.T, key cosignKey, format string, image fixture.Image) {
	t.Helper()
	c.run(t, append([]string{"sign"}, offline(key, format, image)...)...)
}

// attest signs a document about an image, of a type that cosign knows by name, in one of the formats of sign.
func (c *cosignCommand) attest(t *testing.T, key cosignKey, format, kind string, document any, image fixture.Image) {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), kind+".json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, append([]string{"attest", "--type=" + kind, "--predicate=" + file}, offline(key, format, image)...)...)
}

func cosignJudged(t *testing.T, tr *trust) {
	for name, format := range map[string]string{"bundle": "true", "tag": "false"} {
		t.Run("signed as a "+name, func(t *testing.T) {
			image := tr.push(t, "cli/"+name)
			tr.cosign.sign(t, tr.cosign.trusted, format, image)
			tr.admitted(t, "default", "cli-"+name, image.Reference)
		})
		t.Run("signed by a stranger as a "+name, func(t *testing.T) {
			image := tr.push(t, "cli/stranger-"+name)
			tr.cosign.sign(t, tr.cosign.stranger, format, image)
			tr.denied(t, "default", "cli-stranger-"+name, image.Reference, noKey("ci", "cli"))
		})
	}
	t.Run("documents", func(t *testing.T) { cosignDocuments(t, tr) })
}

func cosignDocuments(t *testing.T, tr *trust) {
	now := time.Now()
	disallowed := refusal{ratify.LicenseDisallowed, `"hello 1.0.0" has the licence "AGPL-3.0-only", which is disallowed`, "replace the package"}
	old := refusal{ratify.EvidenceTooOld, "scanned 48 h ago, at most 24 h are allowed", "make and attach a new one"}
	foreign := noKey("cli")
	for _, tt := range []struct {
		name, format string
		key          cosignKey
		license      string
		scanned      time.Time
		reason       *refusal // nil: admitted
	}{
		{"good", "true", tr.cosign.trusted, "MIT", now, nil},
		{"good-under-a-tag", "false", tr.cosign.trusted, "MIT", now, nil},
		{"licence", "true", tr.cosign.trusted, "AGPL-3.0-only", now, &disallowed},
		{"old", "true", tr.cosign.trusted, "MIT", now.Add(-2 * fixture.MaxScanAge), &old},
		{"foreign", "true", tr.cosign.stranger, "MIT", now, &foreign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			image := tr.push(t, "cli/documents/"+tt.name)
			tr.cosign.attest(t, tt.key, tt.format, "spdxjson", fixture.SPDX(tt.license), image)
			tr.cosign.attest(t, tt.key, tt.format, "vuln", fixture.Scan(tt.scanned), image)
			if tt.reason == nil {
				tr.admitted(t, "default", "documents-"+tt.name, image.Reference)
			} else {
				tr.denied(t, "default", "documents-"+tt.name, image.Reference, *tt.reason)
			}
		})
	}
}
