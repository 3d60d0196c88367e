package containment

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// contents are the scripts whose addresses are not in what a registry says, but in what it holds; and those of registries that
// repeat the credential that they were given.
func (w *world) contents() []*arena {
	return append(append(append(w.addresses(), w.certificates()...), w.echoes()...), w.challenges()...)
}

// bait are addresses that lead to where nobody may go, for lists in manifests.
func (w *world) bait() []string {
	return []string{w.stranger.URL("/layer"), w.plain.URL("/layer"), "https://" + w.canary.Addr + "/layer", "file:///etc/passwd"}
}

// addresses are in descriptors: nobody but a runtime that pulls an image has a use for them.
func (w *world) addresses() []*arena {
	with := func(name string, change func(*ocispec.Manifest, []string)) *arena {
		return &arena{kind: "addresses in a manifest", name: name, must: true, build: func(a *arena) error {
			var manifest ocispec.Manifest
			if err := json.Unmarshal(a.image.Manifest, &manifest); err != nil {
				return err
			}
			change(&manifest, w.bait())
			return a.replace(manifest)
		}}
	}
	return []*arena{
		with("of a layer", func(m *ocispec.Manifest, urls []string) { m.Layers[0].URLs = urls }),
		with("of a foreign layer", func(m *ocispec.Manifest, urls []string) {
			m.Layers[0].URLs, m.Layers[0].MediaType = urls, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		}),
		with("of the configuration", func(m *ocispec.Manifest, urls []string) { m.Config.URLs = urls }),
		with("of annotations", func(m *ocispec.Manifest, urls []string) {
			m.Annotations = map[string]string{"org.opencontainers.image.source": urls[0], "org.opencontainers.image.base.name": w.canary.Addr + "/base"}
		}),
		{kind: "addresses in a manifest", name: "of a signature's envelope", must: true, build: func(a *arena) error {
			return a.signWith(func(m *ocispec.Manifest) { m.Layers[0].URLs, m.Config.URLs = w.bait(), w.bait() })
		}},
		{kind: "addresses in a manifest", name: "of the signature's descriptor in the list", must: true, build: func(a *arena) error {
			a.host.SetScript(lab.On(lab.Referrers, lab.Change(func(answer lab.Answer) lab.Answer {
				urls, _ := json.Marshal(w.bait()) // texts
				body := strings.Replace(string(answer.Body), `"digest":`, `"urls":`+string(urls)+`,"digest":`, 1)
				return answer.WithBody([]byte(body))
			})))
			return nil
		}},
	}
}

// replace makes another manifest the image, and signs it.
func (a *arena) replace(manifest ocispec.Manifest) error {
	data, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	a.image.Descriptor = ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digestOf(data), Size: int64(len(data))}
	a.image.Manifest = data
	a.registry.PutManifest(a.image.Repository, a.image.Descriptor, data, a.image.Tag)
	_, err = a.registry.Sign(context.Background(), a.image, a.w.lab.Signer, notationtest.SignOptions{})
	return err
}

// signWith adds an image whose one signature has a manifest that was changed.
func (a *arena) signWith(change func(*ocispec.Manifest)) error {
	image, err := a.registry.PutImage("changed")
	if err != nil {
		return err
	}
	envelope, err := a.w.lab.Signer.Sign(context.Background(), image.Descriptor, notationtest.SignOptions{MediaType: notationtest.JWS})
	if err != nil {
		return err
	}
	artifact, err := notationtest.Attach(image.Descriptor, envelope, notationtest.JWS)
	if err != nil {
		return err
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}}
	if err := json.Unmarshal(artifact.Manifest, &manifest); err != nil {
		return err
	}
	change(&manifest)
	if artifact.Manifest, err = json.Marshal(manifest); err != nil {
		return err
	}
	artifact.ManifestDescriptor.Digest, artifact.ManifestDescriptor.Size = digestOf(artifact.Manifest), int64(len(artifact.Manifest))
	a.registry.PutNotation(image.Repository, artifact)
	a.key = image.At(a.at)
	return nil
}

// certificates name responders and issuers. Those that nobody trusts may name whom they like: nobody is asked.
func (w *world) certificates() []*arena {
	signed := func(name string, options notationtest.AuthorityOptions) *arena {
		return &arena{kind: "addresses in an untrusted certificate", name: name, build: func(a *arena) error {
			signer, _, err := w.lab.NewSigner("untrusted "+name, options)
			if err != nil {
				return err
			}
			return a.signOnly(signer)
		}}
	}
	canary := "http://" + w.canary.Addr
	trusted := func(name string, options notationtest.AuthorityOptions) *arena {
		return &arena{kind: "addresses in a trusted certificate", name: name, build: func(a *arena) error {
			signer, root, err := w.lab.NewSigner("trusted "+name, options)
			if err != nil {
				return err
			}
			w.trustFiles = append(w.trustFiles, root)
			return a.signOnly(signer)
		}}
	}
	return []*arena{
		trusted("of an OCSP responder on the loopback interface", notationtest.AuthorityOptions{OCSPURL: canary}),
		trusted("of a CRL on the loopback interface", notationtest.AuthorityOptions{CRLURL: canary}),
		trusted("of both, on the loopback interface in another spelling", notationtest.AuthorityOptions{
			OCSPURL: "http://[::ffff:127.0.0.1]:" + port(w.canary.Addr), CRLURL: "http://localhost:" + port(w.canary.Addr),
		}),
		trusted("of a file", notationtest.AuthorityOptions{OCSPURL: "file:///etc/passwd", CRLURL: "file:///etc"}),
		signed("of an OCSP responder on the loopback interface", notationtest.AuthorityOptions{OCSPURL: canary}),
		signed("of a CRL on the loopback interface", notationtest.AuthorityOptions{CRLURL: canary}),
		signed("of both, at another host", notationtest.AuthorityOptions{OCSPURL: w.plain.URL(""), CRLURL: w.plain.URL("")}),
		signed("of intermediates", notationtest.AuthorityOptions{Intermediates: 2, OCSPURL: canary, CRLURL: canary}),
		signed("of a file", notationtest.AuthorityOptions{OCSPURL: "file:///etc/passwd", CRLURL: "file:///etc"}),
	}
}

// signOnly adds an image that one signer has signed.
func (a *arena) signOnly(by *notationtest.Signer) error {
	image, err := a.registry.PutSigned(context.Background(), "by-another", by)
	a.key = image.At(a.at)
	return err
}

// echoes repeat what the program has shown them: the registry knows the credential by right, and nobody else does.
func (w *world) echoes() (all []*arena) {
	type echo struct {
		name   string
		answer func(x *lab.Exchange, secret string) lab.Answer
	}
	text := func(status int) func(*lab.Exchange, string) lab.Answer {
		return func(x *lab.Exchange, secret string) lab.Answer {
			return lab.Text(status, "your credential is "+x.Authorization()+" or "+secret+"\x1b[31m\r\nX: y")
		}
	}
	var echoes []echo
	for _, status := range []int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		echoes = append(echoes, echo{fmt.Sprintf("body of a %d", status), text(status)})
	}
	header := func(status int, name string, value func(x *lab.Exchange, secret string) string) func(*lab.Exchange, string) lab.Answer {
		return func(x *lab.Exchange, secret string) lab.Answer {
			return lab.Text(status, "").With(name, value(x, secret))
		}
	}
	plain := func(_ *lab.Exchange, secret string) string { return secret }
	echoes = append(echoes,
		echo{"error of the specification", func(_ *lab.Exchange, secret string) lab.Answer {
			return lab.Text(http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"`+secret+`","detail":"`+secret+`"}]}`).With("Content-Type", "application/json")
		}},
		echo{"content type", header(http.StatusOK, "Content-Type", func(_ *lab.Exchange, secret string) string { return "application/" + secret })},
		echo{"content encoding", header(http.StatusOK, "Content-Encoding", plain)},
		echo{"digest header", header(http.StatusOK, "Docker-Content-Digest", plain)},
		echo{"retry after", header(http.StatusTooManyRequests, "Retry-After", plain)},
		echo{"warning", header(http.StatusNotFound, "Warning", func(_ *lab.Exchange, secret string) string { return `299 - "` + secret + `"` })},
		echo{"challenge of an unknown kind", header(http.StatusUnauthorized, "Www-Authenticate", func(x *lab.Exchange, _ string) string { return x.Authorization() })},
		echo{"service and scope of a challenge", header(http.StatusUnauthorized, "Www-Authenticate", func(_ *lab.Exchange, secret string) string {
			return lab.Bearer("https://registry.invalid/token", secret, "repository:"+secret+":pull")
		})},
		echo{"path of a realm elsewhere", header(http.StatusUnauthorized, "Www-Authenticate", func(_ *lab.Exchange, secret string) string {
			return lab.Bearer(w.stranger.URL("/"+secret+"?x="+secret), "registry", "")
		})},
		echo{"path of a redirect elsewhere", header(http.StatusFound, "Location", func(_ *lab.Exchange, secret string) string {
			return w.stranger.URL("/" + secret + "?x=" + secret)
		})},
		echo{"path of a redirect to the CDN", header(http.StatusFound, "Location", func(x *lab.Exchange, _ string) string {
			return "https://" + w.name(w.cdn) + x.Path
		})},
		echo{"next page elsewhere", func(_ *lab.Exchange, secret string) lab.Answer {
			return lab.Index(nil).With("Link", "<"+w.stranger.URL("/"+secret)+`>; rel="next"`)
		}},
	)
	for i, e := range echoes {
		step := []lab.Step{lab.Resolve, lab.Referrers, lab.Blob}[i%3]
		for _, how := range []login{byToken, byPassword} {
			all = append(all, &arena{kind: "credential repeated", name: e.name, login: how, build: func(a *arena) error {
				a.host.SetScript(lab.On(step, func(x *lab.Exchange) {
					if x.Authorization() == "" {
						lab.Correct(x)
						return
					}
					x.Send(e.answer(x, a.password.Value))
				}))
				return nil
			}})
		}
	}
	raw := &arena{kind: "credential repeated", name: "words of a status", login: byPassword, build: func(a *arena) error {
		a.host.SetScript(lab.On(lab.Resolve, func(x *lab.Exchange) {
			if x.Authorization() == "" {
				lab.Correct(x)
				return
			}
			x.Raw([]byte("HTTP/1.1 500 " + a.password.Value + "\r\nContent-Length: 0\r\n\r\n"))
		}))
		return nil
	}}
	garbage := &arena{kind: "credential repeated", name: "in place of an answer", login: byPassword, build: func(a *arena) error {
		a.host.SetScript(lab.On(lab.Resolve, func(x *lab.Exchange) {
			if x.Authorization() == "" {
				lab.Correct(x)
				return
			}
			x.Raw([]byte(a.password.Value + "\r\n\r\n"))
		}))
		return nil
	}}
	return append(all, raw, garbage)
}
