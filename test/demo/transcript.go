package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/engine"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

// A case is one image of the demonstration, and what has to come of it.
type demoCase struct {
	pod   string
	image string
	about string
	code  ratify.Code
}

func (c demoCase) admitted() bool { return c.code == ratify.Verified }

func cases() []demoCase {
	return []demoCase{
		{"ratify-signed", fixture.Signed, "signed by the trusted signer", ratify.Verified},
		{"demo", fixture.Unsigned, "not signed", ratify.NoReferrers},
		{"sample", fixture.Expired, "signed with a certificate that has expired since", ratify.CertificateExpired},
		{"stranger", fixture.Stranger, "signed by somebody nobody trusts", ratify.UntrustedSigner},
		{"tampered", fixture.Tampered, "signed, and the signature was changed since", ratify.SignatureInvalid},
		{"cosign-key", fixture.CosignKey, "signed by cosign, with a trusted key", ratify.Verified},
		{"cosign-stranger", fixture.CosignStranger, "signed by cosign, with somebody's key", ratify.UntrustedSigner},
		{"keyless", fixture.Keyless, "signed without a key, by an identity that a private Sigstore vouches for", ratify.Verified},
		{"sbom-denied", fixture.BadSBOM, "signed, and its bill of materials lists a licence that is not allowed", ratify.LicenseDisallowed},
		{"scan-old", fixture.OldScan, "signed, and its vulnerability scan is too old", ratify.EvidenceTooOld},
		{"half-signed", fixture.HalfSigned, "an index of two platforms, of which one is signed", ratify.NoReferrers},
	}
}

// A verdict is what came of a case.
type verdict struct {
	demoCase
	got     program.Record
	denials []string
	// problems say what is not as it must be; none is good.
	problems []string
}

// transcript creates a pod of each image on the engine, and prints what kubectl would print and what the log holds.
func (d *demo) transcript(ctx context.Context) ([]verdict, error) {
	var verdicts []verdict
	for _, c := range cases() {
		image := d.fixture.Images[c.image]
		fmt.Fprintf(d.out, "\n# %s: %s\n$ kubectl run %s --image=%s\n", c.image, c.about, c.pod, image.Reference)
		from := d.provider.Lines()
		denials, err := d.engine.Deny(ctx, engine.Pod(c.pod, image.Reference))
		if err != nil {
			return nil, fmt.Errorf("create pod %s: %w", c.pod, err)
		}
		fmt.Fprintln(d.out, kubectl(c.pod, denials))
		got, err := d.provider.Wait(ctx, from, func(r program.Record) bool { return r.Msg == "verify" && r.Key == image.Reference })
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, newVerdict(c, image, denials, got))
		fmt.Fprintf(d.out, "The provider's log:\n%s\n", indent(got.Line))
	}
	return verdicts, nil
}

// kubectl is what kubectl run prints, given the lines with which Gatekeeper's webhook denies; none is an admission.
func kubectl(pod string, denials []string) string {
	if len(denials) == 0 {
		return "pod/" + pod + " created"
	}
	return `Error from server (Forbidden): admission webhook "validation.gatekeeper.sh" denied the request: ` + strings.Join(denials, "\n")
}

// indent makes a record readable; its fields stay as they were written, in their order.
func indent(line []byte) string {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, line, "", "  "); err != nil {
		return string(line)
	}
	return pretty.String()
}

// newVerdict holds the two answers against what they have to be: the template's, which decides, and the provider's.
func newVerdict(c demoCase, image fixture.Image, denials []string, got program.Record) verdict {
	v := verdict{demoCase: c, got: got, denials: denials}
	problem := func(format string, args ...any) { v.problems = append(v.problems, fmt.Sprintf(format, args...)) }
	if admitted := len(denials) == 0; admitted != c.admitted() {
		problem("the pod is %s", outcome(admitted))
	}
	if v.got.IsSuccess != c.admitted() {
		problem("the report has isSuccess %t", v.got.IsSuccess)
	}
	if v.got.Code != string(c.code) {
		problem("the report has the code %q", v.got.Code)
	}
	if v.got.Digest != image.Digest.String() {
		problem("the report is about the digest %q, the image has %q", v.got.Digest, image.Digest)
	}
	reason := "[ratify-constraint] Subject failed verification: " + image.Reference + ": " + v.got.Message
	if len(denials) > 0 && (len(denials) > 1 || !strings.HasPrefix(denials[0], reason)) {
		problem("the denial does not say %q", reason)
	}
	return v
}

func outcome(admitted bool) string {
	if admitted {
		return "created"
	}
	return "denied"
}

// summarize prints a line for each verdict, then one for all, and returns how many are wrong.
func summarize(out io.Writer, verdicts []verdict) (wrong int) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, v := range verdicts {
		mark := "as it must be"
		if len(v.problems) > 0 {
			wrong++
			mark = fmt.Sprintf("WRONG, expected %s, %s: %s", outcome(v.admitted()), v.code, strings.Join(v.problems, "; "))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", v.image, outcome(len(v.denials) == 0), v.got.Code, mark)
	}
	table.Flush() // what it writes to has already taken all that is above
	if wrong > 0 {
		fmt.Fprintf(out, "%d of %d verdicts are wrong\n", wrong, len(verdicts))
		return wrong
	}
	fmt.Fprintf(out, "all %d verdicts are as they must be\n", len(verdicts))
	return 0
}
