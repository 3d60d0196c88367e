package world

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	notationgo "github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// RunFloor serves until the process ends, and does only what nobody can leave out who verifies an image that he has not seen
// before: the image's manifest is read beside the list of what is attached, then the manifest of the signature, then the
// signature; notation-go verifies it once, for the digest that was computed of the manifest. All keys are looked at at once.
//
// There are no bounds, policies, log records, caches or tokens, only Notation's signatures, and of those the first alone. So
// it is nothing to run: it is what anything else is measured against. args are those that StartFloor gives.
func RunFloor(args []string) error {
	face := face{log: newLog()}
	flags := face.flags(FloorCommand)
	trust := flags.String("trust", "", "file with the trusted roots")
	registryCA := flags.String("registry-ca", "", "file with the root of the registry's certificate; empty: plain HTTP")
	if err := flags.Parse(args); err != nil {
		return err
	}
	f, err := newFloor(*trust, *registryCA)
	if err != nil {
		return err
	}
	return face.serve(f)
}

// maxIdleFloor keeps the connections of any batch: closing one that is used again costs more than all else here.
const maxIdleFloor = 4096

type floor struct {
	scheme   string
	client   *http.Transport
	verifier notationgo.Verifier
}

func newFloor(trustFile, registryCAFile string) (*floor, error) {
	f := &floor{scheme: "http://", client: &http.Transport{MaxIdleConns: maxIdleFloor, MaxIdleConnsPerHost: maxIdleFloor, DisableCompression: true}}
	if registryCAFile != "" {
		data, err := os.ReadFile(registryCAFile)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(data)
		f.scheme, f.client.ForceAttemptHTTP2 = "https://", true
		f.client.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	trusted, err := readRoots(trustFile)
	if err != nil {
		return nil, err
	}
	document := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name: "floor", RegistryScopes: []string{"*"}, TrustStores: []string{"ca:certs"}, TrustedIdentities: []string{"*"},
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name},
	}}}
	f.verifier, err = verifier.New(document, trusted, nil)
	return f, err
}

// floorRoots are the trusted certificates, in memory.
type floorRoots []*x509.Certificate

func readRoots(file string) (floorRoots, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var roots floorRoots
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		roots = append(roots, cert)
	}
	return roots, nil
}

// GetCertificates gives all of them, whatever the store is called.
func (r floorRoots) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return r, nil
}

// ServeHTTP answers one request of Gatekeeper.
func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readAll(r.Body, r.ContentLength)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var request externaldata.ProviderRequest
	if err := json.Unmarshal(body, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	items := make([]externaldata.Item, len(request.Request.Keys))
	var group sync.WaitGroup
	for i, key := range request.Request.Keys {
		group.Go(func() { items[i] = f.item(r.Context(), key) })
	}
	group.Wait()
	response := externaldata.ProviderResponse{APIVersion: apiVersion, Kind: externaldata.ProviderResponseKind}
	response.Response.Items = items
	answer, err := json.Marshal(response)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // a caller that is gone needs no answer
}

// A floorValue is what the floor says of an image.
type floorValue struct {
	IsSuccess bool   `json:"isSuccess"`
	Message   string `json:"message,omitempty"`
}

func (f *floor) item(ctx context.Context, key string) externaldata.Item {
	if err := f.verify(ctx, key); err != nil {
		return externaldata.Item{Key: key, Value: floorValue{Message: err.Error()}}
	}
	return externaldata.Item{Key: key, Value: floorValue{IsSuccess: true}}
}

// verify verifies one image: HOST/REPOSITORY@DIGEST or HOST/REPOSITORY:TAG.
func (f *floor) verify(ctx context.Context, key string) error {
	host, rest, ok := strings.Cut(key, "/")
	repository, reference, pinned := strings.Cut(rest, "@")
	if !pinned {
		repository, reference, ok = strings.Cut(rest, ":")
	}
	if !ok {
		return fmt.Errorf("read %q: it has no tag and no digest", key)
	}
	base := f.scheme + host + "/v2/" + repository
	subject, signature, err := f.subject(ctx, base, reference, pinned)
	if err != nil {
		return err
	}
	data, err := f.get(ctx, base+"/manifests/"+signature.Digest.String())
	if err != nil {
		return err
	}
	var manifest struct{ Layers []floorDescriptor }
	if err := json.Unmarshal(data, &manifest); err != nil {
		return err
	}
	if len(manifest.Layers) != 1 {
		return fmt.Errorf("the signature has %d layers", len(manifest.Layers))
	}
	layer := manifest.Layers[0]
	envelope, err := f.get(ctx, base+"/blobs/"+layer.Digest.String())
	if err != nil {
		return err
	}
	// It compares what was signed with the subject.
	_, err = f.verifier.Verify(ctx, subject, envelope, notationgo.VerifierVerifyOptions{
		ArtifactReference: host + "/" + repository + "@" + subject.Digest.String(), SignatureMediaType: layer.MediaType,
	})
	return err
}

// A floorDescriptor is what is looked at of a descriptor.
type floorDescriptor struct {
	MediaType    string
	ArtifactType string
	Digest       digest.Digest
}

// subject reads the image's manifest and finds its signature. Where the digest is known, neither waits for the other.
func (f *floor) subject(ctx context.Context, base, reference string, pinned bool) (ocispec.Descriptor, floorDescriptor, error) {
	if !pinned {
		subject, err := f.manifest(ctx, base, reference)
		if err != nil {
			return subject, floorDescriptor{}, err
		}
		signature, err := f.signature(ctx, base, subject.Digest.String())
		return subject, signature, err
	}
	type found struct {
		subject ocispec.Descriptor
		err     error
	}
	read := make(chan found, 1)
	go func() {
		subject, err := f.manifest(ctx, base, reference)
		if err == nil && subject.Digest.String() != reference {
			err = fmt.Errorf("the manifest is %s", subject.Digest)
		}
		read <- found{subject, err}
	}()
	signature, err := f.signature(ctx, base, reference)
	of := <-read
	return of.subject, signature, errors.Join(of.err, err)
}

// manifest describes the image by what its manifest's bytes are.
func (f *floor) manifest(ctx context.Context, base, reference string) (ocispec.Descriptor, error) {
	data, err := f.get(ctx, base+"/manifests/"+reference)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var manifest struct{ MediaType string }
	if err := json.Unmarshal(data, &manifest); err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, nil
}

// signature finds the first signature of Notation in the list of what is attached.
func (f *floor) signature(ctx context.Context, base, subject string) (floorDescriptor, error) {
	data, err := f.get(ctx, base+"/referrers/"+subject)
	if err != nil {
		return floorDescriptor{}, err
	}
	var index struct{ Manifests []floorDescriptor }
	if err := json.Unmarshal(data, &index); err != nil {
		return floorDescriptor{}, err
	}
	for _, referrer := range index.Manifests {
		if referrer.ArtifactType == notationtest.ArtifactType {
			return referrer, nil
		}
	}
	return floorDescriptor{}, errors.New("there is no signature")
}

func (f *floor) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := readAll(resp.Body, resp.ContentLength)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return data, err
}

// readAll reads a body in one piece where its length is known.
func readAll(body io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(body)
	}
	data := make([]byte, length)
	_, err := io.ReadFull(body, data)
	return data, err
}
