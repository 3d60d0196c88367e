package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/fixture"
)

// A secondRegistry stands beside the fixture's: it is filled with copies. Where it has a user, nobody else can read it.
type secondRegistry struct {
	host, user, password string
}

func startRegistry(t *testing.T, user, password string) *secondRegistry {
	t.Helper()
	handler := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); user != "" && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return &secondRegistry{host: strings.TrimPrefix(server.URL, "http://"), user: user, password: password}
}

// copy copies an image of the fixture's registry under a name, with what is attached to it or without. It returns the
// reference of the copy.
func (r *secondRegistry) copy(t *testing.T, image fixture.Image, name string, attachments bool) string {
	t.Helper()
	from, to := openRepository(t, image.Repository), openRepository(t, r.host+"/"+name)
	to.Client = &auth.Client{Credential: auth.StaticCredential(r.host, auth.Credential{Username: r.user, Password: r.password})}
	var err error
	if attachments {
		_, err = oras.ExtendedCopy(t.Context(), from, image.Tag, to, image.Tag, oras.DefaultExtendedCopyOptions)
	} else {
		_, err = oras.Copy(t.Context(), from, image.Tag, to, image.Tag, oras.DefaultCopyOptions)
	}
	if err != nil {
		t.Fatalf("copy %s to %s/%s: %v", image.Reference, r.host, name, err)
	}
	return r.host + "/" + name + ":" + image.Tag
}

func openRepository(t *testing.T, name string) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(name)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	if err := repo.SetReferrersCapability(true); err != nil {
		t.Fatal(err)
	}
	return repo
}

func mirrorsJudged(t *testing.T, tr *trust) {
	signed := tr.images.Images[fixture.Signed]
	verifiedAs := func(t *testing.T, image string) {
		t.Helper()
		if r := tr.lastRecord(t, image); r.VerifiedAs != signed.Repository || r.Digest != signed.Digest.String() {
			t.Errorf("the record says that %s was verified as %q and is %s, want %s and %s", image, r.VerifiedAs, r.Digest, signed.Repository, signed.Digest)
		}
	}
	t.Run("with its signature in the mirror", func(t *testing.T) {
		image := tr.mirror.copy(t, signed, "copied/"+fixture.Signed, true)
		tr.admitted(t, "default", "mirrored", image)
		verifiedAs(t, image)
	})
	t.Run("with its signature at the origin", func(t *testing.T) {
		image := tr.mirror.copy(t, signed, "bare/"+fixture.Signed, false)
		tr.admitted(t, "default", "mirrored-bare", image)
		verifiedAs(t, image)
	})
	t.Run("without the signature that the rule looks for in the mirror", func(t *testing.T) {
		image := tr.mirror.copy(t, tr.images.Images[fixture.SignedCOSE], "copied/"+fixture.SignedCOSE, false)
		tr.denied(t, "default", "mirrored-unsigned", image, refusals()[fixture.Unsigned])
	})
	t.Run("unsigned at the origin", func(t *testing.T) {
		image := tr.mirror.copy(t, tr.images.Images[fixture.Unsigned], "bare/"+fixture.Unsigned, true)
		tr.denied(t, "default", "mirrored-nothing", image, refusals()[fixture.Unsigned])
	})
	t.Run("without a rule", func(t *testing.T) {
		image := tr.mirror.copy(t, signed, "others/"+fixture.Signed, true)
		reason := refusal{ratify.NoPolicy, `no policy applies to "` + tr.mirror.host + `/others/` + fixture.Signed + `"`, "add a policy whose scopes hold this repository"}
		tr.denied(t, "default", "mirrored-unruled", image, reason)
	})
}
