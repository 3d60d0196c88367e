package notation

import (
	"crypto/x509"
	"encoding/json"
	"testing"

	"github.com/notaryproject/notation-core-go/signature"
	notationgo "github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// TestJudgementNeedsEveryCheck leaves one check out of what the library reports, without a complaint from it.
func TestJudgementNeedsEveryCheck(t *testing.T) {
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "sha256:0", Size: 1}
	content, err := json.Marshal(payload{TargetArtifact: target})
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{{}}
	judge := func(left trustpolicy.ValidationType) ratify.Result {
		outcome := &notationgo.VerificationOutcome{EnvelopeContent: &signature.EnvelopeContent{
			Payload:    signature.Payload{Content: content},
			SignerInfo: signature.SignerInfo{CertificateChain: chain},
		}}
		for _, kind := range trustpolicy.ValidationTypes {
			if kind != left {
				outcome.VerificationResults = append(outcome.VerificationResults, &notationgo.ValidationResult{Type: kind, Action: trustpolicy.ActionEnforce})
			}
		}
		j := &judgement{st: &statement{enforced: trustpolicy.LevelStrict.Enforcement}, env: &envelope{chain: chain}, call: &call{}, outcome: outcome, subject: target}
		result, err := j.judge(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	if result := judge(""); !result.Passed {
		t.Fatalf("all checks made: %s", result.Message)
	}
	for _, kind := range trustpolicy.ValidationTypes {
		if result := judge(kind); result.Passed || result.Code != ratify.SignatureInvalid {
			t.Errorf("%s was not checked: passed %t, %s", kind, result.Passed, result.Code)
		}
	}
}
