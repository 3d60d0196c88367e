package ratify_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

func ExampleParseKey() {
	s, err := ratify.ParseKey("nginx")
	fmt.Println(s, err)
	_, err = ratify.ParseKey("registry.example/app:v1 ")
	var e *ratify.Error
	fmt.Println(errors.As(err, &e), e.Code)
	// Output:
	// docker.io/library/nginx:latest <nil>
	// true BAD_REFERENCE
}

// inspector vouches for every image that somebody has inspected.
type inspector struct{}

func (inspector) Match(evidence ocispec.Descriptor) bool {
	return evidence.ArtifactType == "application/vnd.example.inspection"
}

func (inspector) Verify(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
	return ratify.Result{Passed: true, Message: "inspected"}, nil
}

// An engine decides with the stores, verifiers and policies of a configuration; here with a store that is made up.
func ExampleEngine_Verify() {
	image := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Size: 5}
	registry := &fakeRepository{
		name:    "registry.example/app",
		resolve: func(context.Context, string) (ocispec.Descriptor, error) { return image, nil },
		referrers: func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			return []ocispec.Descriptor{{ArtifactType: "application/vnd.example.inspection", Digest: digest.FromString("inspection")}}, nil
		},
	}
	engine, err := ratify.NewEngine(ratify.Setup{
		Stores: []ratify.NamedStore{{Name: "registries", Scopes: []string{"*"}, Store: fakeStore{
			open: func(context.Context, ratify.Subject) (subject, evidence ratify.Repository, err error) {
				return registry, registry, nil
			},
		}}},
		Verifiers: []ratify.NamedVerifier{{Name: "inspection", Type: "example", Verifier: inspector{}}},
		Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"registry.example/*"}, Verifiers: []string{"inspection"}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range []string{"registry.example/app:v1", "other.example/app:v1"} {
		s, err := ratify.ParseKey(key)
		if err != nil {
			fmt.Println(err)
			return
		}
		report, err := engine.Verify(context.Background(), s)
		if err != nil {
			fmt.Println("could not tell:", err)
			return
		}
		fmt.Println(key, report.Code, report.Message)
	}
	// Output:
	// registry.example/app:v1 VERIFIED verification succeeded
	// other.example/app:v1 NO_POLICY verification failed: no policy applies to "other.example/app"
}
