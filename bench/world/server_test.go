package world

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func startRatify(t *testing.T, config Config, options Options) *Server {
	t.Helper()
	s, err := StartRatify(within(t), binary(t), config, options)
	return running(t, s, err)
}

// requestsFor asks a server about one image that it does not know, and tells what the registry was asked, all and in sequence.
func requestsFor(t *testing.T, r *Registry, s *Server, image Image, key string) (all, sequence []Kind) {
	t.Helper()
	trace := r.Trace()
	if outcomes, problem := ask(t, s, key); len(outcomes) != 1 || !outcomes[0].success {
		t.Fatalf("%s: %v %s", key, outcomes, problem)
	}
	requests := Of(image, trace.Stop())
	for _, request := range requests {
		all = append(all, request.Kind)
	}
	for _, request := range Sequence(requests) {
		sequence = append(sequence, request.Kind)
	}
	return all, sequence
}

func TestFloor(t *testing.T) {
	for name, options := range map[string]RegistryOptions{"plain": {}, "TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t, options)
			signer, stranger := newTestSigner(t, NotationRSA), newTestSigner(t, NotationP256)
			floor, err := StartFloor(within(t), r, []*Signer{signer}, newPKI(t))
			running(t, floor, err)
			good := makeImages(t, r, 3, signer)
			bad := append(makeImages(t, r, 1, newTestSigner(t, Unsigned)), makeImages(t, r, 1, stranger)...)
			missing := strings.Replace(good[0].Reference, good[0].repository, "bench/other", 1)
			keys := []string{good[0].Reference, bad[0].Reference, good[1].Tagged, bad[1].Reference, missing, "rubbish"}
			outcomes, problem := ask(t, floor, keys...)
			want := []outcome{{keys[0], "", true}, {keys[1], "", false}, {keys[2], "", true}, {keys[3], "", false}, {missing, "", false}, {"rubbish", "", false}}
			if problem != "" || !slices.Equal(outcomes, want) {
				t.Errorf("%v %s, want %v", outcomes, problem, want)
			}
			r.SetDelay(50 * time.Millisecond)
			all, sequence := requestsFor(t, r, floor, good[2], good[2].Reference)
			slices.Sort(all[:2])
			if !slices.Equal(all, []Kind{Manifest, Referrers, Evidence, Blob}) || len(sequence) != 3 {
				t.Errorf("%v, of which %v in sequence", all, sequence)
			}
		})
	}
}

// TestFloorComparesDigests gives the floor another manifest than the one that was asked for.
func TestFloorComparesDigests(t *testing.T) {
	r, signer := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256)
	floor, err := StartFloor(within(t), r, []*Signer{signer}, newPKI(t))
	running(t, floor, err)
	images := makeImages(t, r, 2, signer)
	asked := r.content["/v2/"+images[0].repository+"/manifests/"+images[0].Digest.String()]
	asked.body = r.content["/v2/"+images[1].repository+"/manifests/"+images[1].Digest.String()].body
	tagged := r.content["/v2/"+strings.Replace(strings.TrimPrefix(images[1].Tagged, r.Host()+"/"), ":", "/manifests/", 1)]
	tagged.body = append(slices.Clone(tagged.body), '\n')
	for _, key := range []string{images[0].Reference, images[1].Tagged} {
		if outcomes, _ := ask(t, floor, key); outcomes[0].success {
			t.Errorf("%s passes", key)
		}
	}
}

func TestRatify(t *testing.T) {
	for name, options := range map[string]RegistryOptions{"plain": {}, "TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t, options)
			rsa, bundle, tag := newTestSigner(t, NotationRSA), newTestSigner(t, CosignBundle), newTestSigner(t, CosignSig)
			config := Config{Registry: r, Signers: []*Signer{rsa, bundle, tag}, CosignTags: true, Policies: 3, Cache: map[string]any{"ttl": "1h"}}
			s := startRatify(t, config, newPKI(t))
			keys, want := []string{}, []outcome{}
			for _, signer := range []*Signer{rsa, bundle, tag, newTestSigner(t, Unsigned), newTestSigner(t, NotationP256)} {
				image := makeImages(t, r, 1, signer)[0]
				keys = append(keys, image.Reference)
				want = append(want, outcome{key: image.Reference, success: slices.Contains(config.Signers, signer)})
			}
			outcomes, problem := ask(t, s, keys...)
			for i := range outcomes {
				outcomes[i].code = ""
			}
			if problem != "" || !slices.Equal(outcomes, want) {
				t.Errorf("%v %s, want %v", outcomes, problem, want)
			}
		})
	}
}

func TestRatifyWithTokens(t *testing.T) {
	r, signer := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256)
	r.SetTokens(time.Hour)
	s := startRatify(t, Config{Registry: r, Signers: []*Signer{signer}}, newPKI(t))
	image := makeImages(t, r, 1, signer)[0]
	all, _ := requestsFor(t, r, s, image, image.Reference)
	if !slices.Contains(all, Token) || !slices.Contains(all, Blob) || r.Counts()[Token] == 0 {
		t.Errorf("%v", all)
	}
}

func TestReload(t *testing.T) {
	r, signer, other := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256), newTestSigner(t, NotationP256)
	config := Config{Registry: r, Signers: []*Signer{signer}}
	s := startRatify(t, config, newPKI(t))
	image := makeImages(t, r, 1, other)[0]
	if outcomes, _ := ask(t, s, image.Reference); outcomes[0].success {
		t.Error("a stranger's image passes")
	}
	if err := s.Reload(within(t), config); err == nil {
		t.Error("nothing changed, and it was reloaded")
	}
	config.Signers = append(config.Signers, other)
	if err := s.Reload(within(t), config); err != nil {
		t.Fatal(err)
	}
	if outcomes, _ := ask(t, s, image.Reference); !outcomes[0].success {
		t.Errorf("after the reload: %v", outcomes)
	}
	config.Signers[1] = newTestSigner(t, NotationP256)
	if err := s.Reload(within(t), config); err != nil {
		t.Errorf("another certificate in the same file: %v", err)
	}
	if outcomes, _ := ask(t, s, image.Reference); outcomes[0].success {
		t.Error("the image passes although its signer is no longer trusted")
	}
	config.Edit = func(file map[string]any) { file["policies"] = "none" }
	if err := s.Reload(within(t), config); err == nil || !strings.Contains(err.Error(), "reload failed") {
		t.Errorf("a bad configuration: %v", err)
	}
}

func TestMeasures(t *testing.T) {
	r, signer := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256)
	s := startRatify(t, Config{Registry: r, Signers: []*Signer{signer}}, newPKI(t))
	before, err := s.CPU()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var keys []string
		for _, image := range makeImages(t, r, 50, signer) {
			keys = append(keys, image.Reference)
		}
		ask(t, s, keys...)
	}
	if after, err := s.CPU(); err != nil || after <= before {
		t.Errorf("processor time %s, before %s: %v", after, before, err)
	}
	rss, err := s.RSS()
	if err != nil {
		t.Fatal(err)
	}
	if peak, err := s.PeakRSS(); err != nil || peak < rss || rss < 1<<20 {
		t.Errorf("resident %d, at most %d: %v", rss, peak, err)
	}
	if s.StartedIn() <= 0 || s.StartedIn() > startTimeout {
		t.Errorf("started in %s", s.StartedIn())
	}
	metrics, err := s.Metrics(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := metrics[`ratify_requests_total{operation="verify",result="ok"}`]; got != 5 {
		t.Errorf("%v requests by its metrics, want 5: %v", got, metrics)
	}
}

func TestEcho(t *testing.T) {
	r, signer, options := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256), newPKI(t)
	ratify := startRatify(t, Config{Registry: r, Signers: []*Signer{signer}}, options)
	var keys []string
	for _, image := range makeImages(t, r, 3, signer) {
		keys = append(keys, image.Reference)
	}
	recorded, err := ratify.Record(within(t), keys...)
	if err != nil {
		t.Fatal(err)
	}
	if len(recorded.Records) != 3 || !bytes.Contains(recorded.Records[0], []byte(`"cached":true`)) {
		t.Errorf("records %s", recorded.Records)
	}
	echo, err := StartEcho(within(t), recorded, options)
	running(t, echo, err)
	from, err := echo.process.logged()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := echo.Ask(within(t), keys...)
	if err != nil || !bytes.Equal(answer, recorded.Response) {
		t.Errorf("%v: it answers %s", err, answer)
	}
	lines, err := echo.process.lines(within(t), from, 3, func([]byte) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		// The time of a record has as many digits as it needs.
		if difference := len(line) - len(recorded.Records[i]); difference < -9 || difference > 9 {
			t.Errorf("record %d has %d bytes, ratify's has %d", i, len(line), len(recorded.Records[i]))
		}
	}
}

func TestPeer(t *testing.T) {
	r, signer, options := newRegistry(t, RegistryOptions{}), newTestSigner(t, NotationP256), newPKI(t)
	floor, err := StartFloor(within(t), r, []*Signer{signer}, options)
	running(t, floor, err)
	peer := NewPeer(floor.URL(), options.PKI.Client())
	image := makeImages(t, r, 1, signer)[0]
	if outcomes, problem := ask(t, peer, image.Reference); len(outcomes) != 1 || !outcomes[0].success {
		t.Errorf("%v %s", outcomes, problem)
	}
	_, cpuErr := peer.CPU()
	_, rssErr := peer.RSS()
	_, metricsErr := peer.Metrics(within(t))
	_, recordErr := peer.Record(within(t), image.Reference)
	for i, err := range []error{cpuErr, rssErr, metricsErr, recordErr, peer.Signal(os.Interrupt), peer.Reload(within(t), Config{})} {
		if err == nil {
			t.Errorf("%d: a peer was measured", i)
		}
	}
	if err := peer.Stop(); err != nil {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	r, options := newRegistry(t, RegistryOptions{}), newPKI(t)
	path := binary(t)
	bad := Config{Registry: r, Signers: []*Signer{newTestSigner(t, NotationP256)}, Edit: func(file map[string]any) { file["polices"] = 1 }}
	if _, err := StartRatify(within(t), path, bad, options); err == nil || !strings.Contains(err.Error(), "polices") {
		t.Errorf("a bad configuration: %v", err)
	}
	if _, err := StartRatify(within(t), path, Config{Registry: r, CosignTags: true}, options); err == nil {
		t.Error("CosignTags without a signer of cosign")
	}
	if _, err := StartRatify(within(t), filepath.Join(options.Dir, "missing"), Config{Registry: r}, options); err == nil {
		t.Error("a missing binary")
	}
	left, err := filepath.Glob(filepath.Join(options.Dir, "bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v %v", left, err)
	}
}
