package cosign_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// A signature that cosign attached to an image, by a key that is trusted under the name ci.
func ExampleVerifier_Verify() {
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		log.Fatal(err)
	}
	path := temporary(key.PublicPEM())
	verifier, err := cosign.New(cosign.Config{Trust: sigstore.Trust{Keys: []sigstore.Key{{Name: "ci", File: path}}}}, cosign.Deps{})
	os.Remove(path) // it was read
	if err != nil {
		log.Fatal(err)
	}

	signed, err := key.Sign(cosigntest.SignStatement(image.Digest))
	if err != nil {
		log.Fatal(err)
	}
	attached := cosigntest.AttachBundle(image, signed.Bundle())
	result, err := verifier.Verify(context.Background(), image, attached.Descriptor, holding(attached))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Passed, result.Message)
	// Output: true signed by key "ci"
}

// temporary writes a file.
func temporary(data []byte) (path string) {
	file, err := os.CreateTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Close()); err != nil {
		log.Fatal(err)
	}
	return file.Name()
}
