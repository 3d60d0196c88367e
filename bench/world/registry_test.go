package world

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fetch asks for a path of the registry's API below /v2/.
func fetch(t *testing.T, r *Registry, path, token string) (*http.Response, []byte) {
	t.Helper()
	return fetchURL(t, "http://"+r.Host()+"/v2/"+path, token)
}

func fetchURL(t *testing.T, url, token string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func wantCounts(t *testing.T, r *Registry, want map[Kind]int) {
	t.Helper()
	if got := r.Counts(); !maps.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

// TestImagesHoldWhatTheyNeed follows each image's content from its reference to the last blob.
func TestImagesHoldWhatTheyNeed(t *testing.T) {
	for kind, want := range map[SignerKind]map[Kind]int{
		NotationRSA:  {Tag: 1, Manifest: 1, Referrers: 1, CosignTag: 1, Evidence: 1, Blob: 2},
		NotationP256: {Tag: 1, Manifest: 1, Referrers: 1, CosignTag: 1, Evidence: 1, Blob: 2},
		CosignBundle: {Tag: 1, Manifest: 1, Referrers: 1, CosignTag: 1, Evidence: 1, Blob: 2},
		CosignSig:    {Tag: 1, Manifest: 1, Referrers: 1, CosignTag: 1, Evidence: 1, Blob: 2},
		Unsigned:     {Tag: 1, Manifest: 1, Referrers: 1, CosignTag: 1},
	} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRegistry(t, RegistryOptions{})
			image := makeImages(t, r, 1, newTestSigner(t, kind))[0]
			base := image.repository
			for _, reference := range []string{image.Digest.String(), strings.TrimPrefix(image.Tagged, r.Host()+"/"+base+":")} {
				resp, body := fetch(t, r, base+"/manifests/"+reference, "")
				if got := digest.FromBytes(body); got != image.Digest || resp.Header.Get("Docker-Content-Digest") != got.String() {
					t.Errorf("%s is %s", reference, got)
				}
			}
			_, list := fetch(t, r, base+"/referrers/"+image.Digest.String(), "")
			var index ocispec.Index
			if err := json.Unmarshal(list, &index); err != nil {
				t.Fatal(err)
			}
			resp, underTag := fetch(t, r, base+"/manifests/"+strings.Replace(image.Digest.String(), ":", "-", 1)+".sig", "")
			found := map[SignerKind]bool{kind: true}
			if found[CosignSig] != (resp.StatusCode == http.StatusOK) {
				t.Errorf("cosign's tag: %s", resp.Status)
			}
			if found[CosignSig] {
				index.Manifests = append(index.Manifests, ocispec.Descriptor{Digest: digest.FromBytes(underTag)})
			}
			for _, desc := range index.Manifests {
				wantContent(t, r, base, desc)
			}
			wantCounts(t, r, want)
		})
	}
}

// wantContent reads a manifest and all that it names.
func wantContent(t *testing.T, r *Registry, base string, desc ocispec.Descriptor) {
	t.Helper()
	_, data := fetch(t, r, base+"/manifests/"+desc.Digest.String(), "")
	if got := digest.FromBytes(data); got != desc.Digest {
		t.Errorf("the manifest is %s, want %s", got, desc.Digest)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	for _, part := range append(manifest.Layers, manifest.Config) {
		if _, blob := fetch(t, r, base+"/blobs/"+part.Digest.String(), ""); digest.FromBytes(blob) != part.Digest {
			t.Errorf("the blob %s is another", part.Digest)
		}
	}
}

func TestImagesAreAllDifferent(t *testing.T) {
	r, signer := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256)
	seen := map[digest.Digest]bool{}
	repositories := map[string]bool{}
	r.SetRepositories(3)
	for range 2 {
		for _, image := range makeImages(t, r, 10, signer) {
			seen[image.Digest] = true
			repositories[image.repository] = true
		}
	}
	other := newRegistry(t, RegistryOptions{})
	seen[makeImages(t, other, 1, signer)[0].Digest] = true
	if len(seen) != 21 || len(repositories) != 3 {
		t.Errorf("%d digests in %d repositories, want 21 in 3", len(seen), len(repositories))
	}
}

func TestForget(t *testing.T) {
	r, signer := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256)
	r.SetRepositories(1)
	images := makeImages(t, r, 2, signer)
	for range 2 {
		r.Forget(images[:1])
	}
	if resp, _ := fetch(t, r, images[0].repository+"/manifests/"+images[0].Digest.String(), ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("forgotten: %s", resp.Status)
	}
	_, list := fetch(t, r, images[1].repository+"/referrers/"+images[1].Digest.String(), "")
	var index ocispec.Index
	if err := json.Unmarshal(list, &index); err != nil {
		t.Fatal(err)
	}
	// Its configuration is the one that the forgotten image had too.
	wantContent(t, r, images[1].repository, index.Manifests[0])
	r.Forget(images[1:])
	if len(r.content) != 0 {
		t.Errorf("%d pieces of content are left", len(r.content))
	}
}

func TestUnknownPathsAreCounted(t *testing.T) {
	r := newRegistry(t, RegistryOptions{})
	sum := digest.FromString("nothing").String()
	tag := strings.Replace(sum, ":", "-", 1)
	for path, status := range map[string]int{
		"a/manifests/" + sum: 404, "a/manifests/v1": 404, "a/referrers/" + sum: 200, "a/blobs/" + sum: 404,
		"a/manifests/" + tag + ".sig": 404, "a/manifests/" + tag: 404, "a/manifests/" + tag + ".att": 404, "a/tags/list": 404, "": 404,
	} {
		if resp, _ := fetch(t, r, path, ""); resp.StatusCode != status {
			t.Errorf("%q: %s, want %d", path, resp.Status, status)
		}
	}
	wantCounts(t, r, map[Kind]int{Manifest: 1, Tag: 1, Referrers: 1, Blob: 1, CosignTag: 1, Other: 4})
	r.Reset()
	wantCounts(t, r, map[Kind]int{})
}

func TestDelay(t *testing.T) {
	r := newRegistry(t, RegistryOptions{})
	const delay = 50 * time.Millisecond
	for _, test := range []struct {
		set    time.Duration
		waited bool
	}{{0, false}, {delay, true}, {0, false}} {
		r.SetDelay(test.set)
		began := time.Now()
		fetch(t, r, "a/manifests/v1", "")
		if took := time.Since(began); (took >= delay) != test.waited {
			t.Errorf("with a delay of %s it took %s", test.set, took)
		}
	}
}

func TestLimit(t *testing.T) {
	r := newRegistry(t, RegistryOptions{})
	r.SetLimit(0.25, 2)
	for i, want := range []int{404, 404, 429} {
		resp, _ := fetch(t, r, "a/manifests/v1", "")
		if resp.StatusCode != want {
			t.Errorf("request %d: %s, want %d", i, resp.Status, want)
		}
		if after := resp.Header.Get("Retry-After"); want == 429 && after != "4" {
			t.Errorf("Retry-After is %q, want 4", after)
		}
	}
	r.SetLimit(0, 0)
	fetch(t, r, "a/manifests/v1", "")
	wantCounts(t, r, map[Kind]int{Tag: 3, Limited: 1})
}

func TestBucket(t *testing.T) {
	at := time.Now()
	b := newBucket(20, 5, at)
	for i, test := range []struct {
		later   time.Duration
		takes   int // that succeed
		waiting int // seconds, told of the one after
	}{
		{0, 5, 1},
		{49 * time.Millisecond, 0, 1},
		{time.Millisecond, 1, 1},
		{100 * time.Millisecond, 2, 1},
		{time.Hour, 5, 1},
	} {
		at = at.Add(test.later)
		for n := range test.takes {
			if _, limited := b.take(at); limited {
				t.Errorf("step %d: take %d is limited", i, n)
			}
		}
		if after, limited := b.take(at); !limited || after != test.waiting {
			t.Errorf("step %d: the next one waits %d s, limited is %v", i, after, limited)
		}
	}
}

func TestTokens(t *testing.T) {
	r := newRegistry(t, RegistryOptions{})
	r.SetTokens(time.Hour)
	resp, _ := fetch(t, r, "a/manifests/v1", "")
	want := `Bearer realm="http://` + r.TokenHost() + `/token",service="` + r.Host() + `",scope="repository:a:pull"`
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || got != want {
		t.Fatalf("%s, %s; want %s", resp.Status, got, want)
	}
	token := func(scope string) string {
		_, body := fetchURL(t, "http://"+r.TokenHost()+"/token?service="+r.Host()+"&scope="+scope, "")
		var answer struct {
			Token     string `json:"token"`
			ExpiresIn int    `json:"expires_in"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || answer.ExpiresIn != int(r.tokens.life.Load()/int64(time.Second)) {
			t.Fatalf("%v: %s", err, body)
		}
		return answer.Token
	}
	good := token("repository:a:pull")
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"good": {good, 404}, "two scopes": {token("repository:a:pull%20repository:b:pull"), 404},
		"another scope": {token("repository:b:pull"), 401}, "damaged": {good + "x", 401}, "rubbish": {"x", 401},
	} {
		if resp, _ := fetch(t, r, "a/manifests/v1", test.token); resp.StatusCode != test.want {
			t.Errorf("%s: %s, want %d", name, resp.Status, test.want)
		}
	}
	r.SetTokens(time.Nanosecond)
	if resp, _ := fetch(t, r, "a/manifests/v1", token("repository:a:pull")); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("ended: %s", resp.Status)
	}
	r.SetTokens(0)
	fetch(t, r, "a/manifests/v1", "")
	wantCounts(t, r, map[Kind]int{Challenge: 5, Token: 4, Tag: 3})
}

func TestTLSSpeaksHTTP2(t *testing.T) {
	r := newRegistry(t, RegistryOptions{TLS: true})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.CA())
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, "https://"+r.Host()+"/v2/a/manifests/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("it speaks %s", resp.Proto)
	}
}

func TestSequence(t *testing.T) {
	began := time.Now()
	at := func(kind Kind, from, to int) Request {
		return Request{Kind: kind, Began: began.Add(time.Duration(from) * time.Millisecond), Ended: began.Add(time.Duration(to) * time.Millisecond)}
	}
	for name, test := range map[string]struct {
		requests []Request
		want     []Kind
	}{
		"none":                 {nil, nil},
		"one after another":    {[]Request{at(Manifest, 0, 20), at(Referrers, 21, 41), at(Evidence, 42, 62), at(Blob, 63, 83)}, []Kind{Manifest, Referrers, Evidence, Blob}},
		"manifest beside list": {[]Request{at(Manifest, 0, 21), at(Referrers, 1, 20), at(Evidence, 22, 42), at(Blob, 43, 63)}, []Kind{Referrers, Evidence, Blob}},
		"a long one beside":    {[]Request{at(CosignTag, 0, 90), at(Manifest, 0, 20), at(Blob, 21, 40)}, []Kind{Manifest, Blob}},
		"all at once":          {[]Request{at(Manifest, 0, 20), at(Referrers, 1, 21), at(CosignTag, 2, 22)}, []Kind{Manifest}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []Kind
			for _, request := range Sequence(test.requests) {
				got = append(got, request.Kind)
			}
			if len(got) != len(test.want) {
				t.Fatalf("%v, want %v", got, test.want)
			}
			for i := range got {
				if got[i] != test.want[i] {
					t.Errorf("%v, want %v", got, test.want)
				}
			}
		})
	}
}
