package notation_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"

	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A verifier that trusts one certificate authority for all repositories, and an image that is signed under it.
func ExampleVerifier_Verify() {
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{})
	if err != nil {
		log.Fatal(err)
	}
	root := temporary(authority.PEM())
	verifier, err := notation.New(notation.Config{
		TrustStores: []notation.TrustStore{{Type: "ca", Name: "certs", Files: []string{root}}},
		TrustPolicy: trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
			Name:                  "default",
			RegistryScopes:        []string{"*"},
			SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict"},
			TrustStores:           []string{"ca:certs"},
			TrustedIdentities:     []string{"*"},
		}}},
	}, notation.Deps{})
	os.Remove(root) // it was read
	if err != nil {
		log.Fatal(err)
	}

	artifact := signedImage(authority)
	result, err := verifier.Verify(context.Background(), image, artifact.ManifestDescriptor, holding(artifact))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Passed, result.Message)
	// Output: true signed by "CN=Example Signer,O=Example,ST=WA,C=US"
}

// What a signature says, without asking who may say it.
func ExampleDescribe() {
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{})
	if err != nil {
		log.Fatal(err)
	}
	artifact := signedImage(authority)
	signature, err := notation.Describe(artifact.Envelope, artifact.EnvelopeDescriptor.MediaType)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(signature.Algorithm, signature.Certificates[0].IssuedTo)
	// Output: ECDSA-SHA-256 CN=Example Signer,O=Example,ST=WA,C=US
}

func temporary(data []byte) string {
	file, err := os.CreateTemp("", "*.crt")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := file.Write(data); err != nil {
		log.Fatal(err)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
	return file.Name()
}

func signedImage(authority *notationtest.Authority) *notationtest.Artifact {
	signer, err := authority.Issue(notationtest.LeafOptions{})
	if err != nil {
		log.Fatal(err)
	}
	envelope, err := signer.Sign(context.Background(), image, notationtest.SignOptions{})
	if err != nil {
		log.Fatal(err)
	}
	artifact, err := notationtest.Attach(image, envelope, notationtest.JWS)
	if err != nil {
		log.Fatal(err)
	}
	return artifact
}
