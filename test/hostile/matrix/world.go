package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A world is what the cells have in common: the lab, and a registry with one image that is signed, and others.
type world struct {
	env       promise.Env
	lab       *lab.Lab
	registry  *lab.Registry
	image     lab.Image // signed by whom the configuration trusts
	unsigned  lab.Image
	withTag   *lab.Registry          // has no referrers API
	listed    lab.Image              // is there, signed
	attached  *notationtest.Artifact // another image's signature
	bundled   lab.Image              // signed with a key, under cosign's tag
	keyFile   string                 // of the key
	other     map[lab.Step][]byte    // what another image has at each step
	canary    string                 // an address that nobody may be led to
	addresses atomic.Uint32
	hosts     atomic.Int64
	delay     time.Duration // see beside

	// What configurations are made of.
	strangerRoot, otherCertificate []byte
	password                       string
}

// Staged are the servers of a cell.
type staged struct {
	*world
	at     lab.Step
	host   *lab.Host
	tokens *lab.TokenServer
}

// repository is the one that every image of the matrix is in.
const repository = "app"

func newWorld(ctx context.Context, env promise.Env) (*world, error) {
	l, err := lab.New(env.Dir)
	if err != nil {
		return nil, err
	}
	w := &world{env: env, lab: l, registry: &lab.Registry{}, withTag: &lab.Registry{NoReferrersAPI: true}}
	if err := w.fill(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return w, nil
}

// fill makes the images. All are in one repository, so that what is listed for the wrong one can be read.
func (w *world) fill(ctx context.Context) error {
	canary, err := w.lab.Canary("where registries lead to", "127.0.0.3:0")
	if err != nil {
		return err
	}
	w.canary = canary.Addr
	if w.unsigned, err = w.registry.PutImage(repository); err != nil {
		return err
	}
	neighbour, err := w.registry.PutImage(repository)
	if err != nil {
		return err
	}
	w.attached, err = w.registry.Sign(ctx, neighbour, w.lab.Signer, notationtest.SignOptions{})
	if err != nil {
		return err
	}
	list := w.attached.ManifestDescriptor
	list.ArtifactType = notationtest.ArtifactType
	w.other = map[lab.Step][]byte{
		lab.Resolve: w.unsigned.Manifest, lab.Manifest: w.unsigned.Manifest, lab.SignatureManifest: w.attached.Manifest,
		lab.Blob: w.attached.Envelope, lab.Referrers: lab.Index(attachedTo(list)).Body,
	}
	if w.image, err = w.registry.PutSigned(ctx, repository, w.lab.Signer); err != nil {
		return err
	}
	if err := w.fillTags(ctx); err != nil {
		return err
	}
	w.strangerRoot = notationtest.PEM(w.lab.Stranger.Chain[len(w.lab.Stranger.Chain)-1])
	w.password = w.lab.Plant("password of a docker config").Value
	pki, err := fixture.NewPKI(filepath.Join(w.env.Dir, "other-pki"))
	if err != nil {
		return err
	}
	w.otherCertificate, err = os.ReadFile(filepath.Join(pki.CertDir, certFile))
	return err
}

// fillTags makes the images whose evidence is under tags.
func (w *world) fillTags(ctx context.Context) (err error) {
	w.other[lab.ReferrersTag], w.other[lab.CosignTag] = w.other[lab.Referrers], w.other[lab.SignatureManifest]
	if w.listed, err = w.withTag.PutSigned(ctx, repository, w.lab.Signer); err != nil {
		return err
	}
	// After the image, which is another one than the neighbour then: what is pushed is told apart by its number.
	w.withTag.PutNotation(repository, w.attached)
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		return err
	}
	if w.keyFile, err = w.lab.WriteFile("cosign.pub", key.PublicPEM()); err != nil {
		return err
	}
	if w.bundled, err = w.registry.PutImage("tagged"); err != nil {
		return err
	}
	signed, err := key.SignMessage(cosigntest.Payload("registry.example/any", w.bundled.Descriptor.Digest))
	if err != nil {
		return err
	}
	w.registry.PutCosign("tagged", cosigntest.Collect(w.bundled.Descriptor.Digest, signed.Layer()))
	return nil
}

// address gives each host one of 127.64.0.0/10, which are all this machine's own: what is learned about one host, and the
// share of the work that it may have, say nothing of another.
func (w *world) address() string {
	n := w.addresses.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(64 + n>>16&0x3f), byte(n >> 8), byte(n)}).String()
}

// newHost makes a host of a cell.
func (w *world) newHost(c *cell, options lab.HostOptions) (*lab.Host, error) {
	options.Name = fmt.Sprintf("%s at %s, %d", c.fault.name, c.step, w.hosts.Add(1))
	options.Address = w.address()
	h, err := w.lab.Host(options)
	if err == nil {
		c.hosts = append(c.hosts, h)
	}
	return h, err
}

// locked is a registry that asks for a token.
type locked struct {
	*lab.Registry
	realm  string
	tokens *lab.TokenServer
}

// Answer answers who has a token.
func (l locked) Answer(x *lab.Exchange) lab.Answer {
	if !l.tokens.Accept(x.Authorization(), repository) {
		return lab.Text(http.StatusUnauthorized, "unauthorized").With("Www-Authenticate", lab.Bearer(l.realm, "registry", "repository:"+repository+":pull"))
	}
	return l.Registry.Answer(x)
}

// befall has the fault befall the host: the answers of a step, or the connections from the step on.
func (f fault) befall(s *staged) error {
	if f.do != nil {
		s.host.SetScript(lab.On(s.at, f.do(s)))
	}
	if f.line == nil {
		return nil
	}
	last := before(s.at)
	if last == "" {
		return f.line(s.host)
	}
	s.host.SetScript(func(x *lab.Exchange) {
		if x.Step == last {
			if err := f.line(s.host); err != nil {
				x.Send(lab.Text(http.StatusInternalServerError, err.Error()))
				return
			}
		}
		// Each answer ends its connection, so that the next step needs a new one.
		x.Send(x.Correct().With("Connection", "close"))
	})
	return nil
}

// before is the step whose answer comes just before that of a step; empty: the step is the first one.
func before(at lab.Step) lab.Step {
	switch at {
	case lab.Referrers, lab.CosignTag:
		return lab.Resolve
	case lab.ReferrersTag:
		return lab.Referrers
	case lab.SignatureManifest:
		return lab.Referrers
	case lab.Blob:
		return lab.SignatureManifest
	}
	return ""
}

// byKey is the rest of a configuration in which a policy asks for a key's signature at some repositories.
func (w *world) byKey(scopes []string) (verifiers, policies []map[string]any) {
	key := map[string]any{"name": "matrix", "file": w.keyFile}
	verifiers = []map[string]any{{"name": "cosign", "type": "cosign", "settings": map[string]any{"keys": []any{key}, "cosignTags": true}}}
	policies = []map[string]any{{"name": "default", "scopes": []string{"*"}, "verifiers": []string{"notation"}}}
	if len(scopes) > 0 {
		policies = append(policies, map[string]any{"name": "by-key", "scopes": scopes, "verifiers": []string{"cosign"}})
	}
	return verifiers, policies
}

// serve starts the program with a configuration.
func (w *world) serve(ctx context.Context, settings lab.Settings, args ...string) (*lab.Program, error) {
	config, err := w.lab.Configure(settings)
	if err != nil {
		return nil, err
	}
	return w.start(ctx, config, args...)
}

func (w *world) start(ctx context.Context, config string, args ...string) (*lab.Program, error) {
	args = append([]string{"--verify-timeout=" + budget.String()}, args...)
	return w.lab.Start(ctx, lab.ProgramOptions{Binary: w.env.Binary, Config: config, Args: args})
}

// mustVerify has an image verified that is good, by servers that are well. A machine that does much else may take more than
// one deadline for it.
func mustVerify(ctx context.Context, p *lab.Program, key string) error {
	for tries := 1; ; tries++ {
		got, err := askOnce(ctx, p, key)
		switch {
		case err != nil || got.class == verified:
			return err
		case got.code != "DEADLINE" || tries == secondTries:
			return fmt.Errorf("an image that is good is %s: %s", got.outcome, got.text)
		}
	}
}

// beside asks about an image that is known, again and again, until the function that is returned is called: the longest that
// this took is what the machine adds to any answer.
func (w *world) beside(ctx context.Context, p *lab.Program, key string) (stop func() error, err error) {
	if err := mustVerify(ctx, p, key); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		var wrong error
		for ctx.Err() == nil {
			got, err := askOnce(context.WithoutCancel(ctx), p, key)
			w.delay = max(w.delay, got.took)
			if err != nil || got.class != verified {
				wrong = errors.Join(err, fmt.Errorf("an image that is known is %s: %s", got.outcome, got.text))
			}
			pause(ctx, pulse)
		}
		ended <- wrong
	}()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

// pulse is how often it is asked: often enough to be delayed by whatever delays others, and no load.
const pulse = 50 * time.Millisecond
