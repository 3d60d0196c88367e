package sigstore_test

import (
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// signAs signs the image.
func signAs(t testing.TB, s *cosigntest.Sigstore, o cosigntest.Options) *cosigntest.Signed {
	t.Helper()
	if o.Identity == "" {
		o.Identity = workflow
	}
	if o.Issuer == "" {
		o.Issuer = issuer
	}
	return must[*cosigntest.Signed](t)(s.Sign(cosigntest.SignStatement(image.Digest), o))
}

func bundled(s *cosigntest.Signed) *cosigntest.Artifact {
	return cosigntest.AttachBundle(image, s.Bundle())
}

// expect wants a signature, or a refusal of the code.
func expect(t testing.TB, err error, code ratify.Code, words ...string) {
	t.Helper()
	if code == ratify.Verified {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	refused(t, err, code, words...)
}

func TestIdentityPatterns(t *testing.T) {
	instance := newSigstore(t, "ours")
	trustedRoot := writeFile(t, must[[]byte](t)(cosigntest.TrustedRoot(instance)))
	for _, tc := range []struct {
		name             string
		trusted          sigstore.Identity
		identity, issuer string
		want             ratify.Code
	}{
		{"exact", sigstore.Identity{Issuer: issuer, Subject: workflow}, workflow, issuer, ratify.Verified},
		{"e-mail", sigstore.Identity{Issuer: issuer, Subject: "someone@example.com"}, "someone@example.com", issuer, ratify.Verified},
		{"pattern", sigstore.Identity{Issuer: issuer, SubjectPattern: `^https://ci\.example/acme/.+$`}, workflow, issuer, ratify.Verified},
		{"pattern of the issuer", sigstore.Identity{IssuerPattern: `^https://[a-z]+\.ci\.example$`, Subject: workflow}, workflow, issuer, ratify.Verified},
		{"longer", sigstore.Identity{Issuer: issuer, Subject: workflow}, workflow + "x", issuer, ratify.IdentityMismatch},
		{"another issuer", sigstore.Identity{Issuer: issuer, Subject: workflow}, workflow, issuer + ".evil.example", ratify.IdentityMismatch},
		{"another subject", sigstore.Identity{Issuer: issuer, SubjectPattern: `^https://ci\.example/acme/.+$`}, "https://evil.example/?https://ci.example/acme/app", issuer, ratify.IdentityMismatch},
		{"pattern of the issuer, longer", sigstore.Identity{IssuerPattern: `^https://[a-z]+\.ci\.example$`, Subject: workflow}, workflow, issuer + ".evil.example", ratify.IdentityMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVerifier(t, sigstore.Trust{Identities: []sigstore.Identity{{Issuer: "https://nobody.example", Subject: "nobody@example.com"}, tc.trusted}, TrustedRoot: trustedRoot})
			signer, err := signatureOf(t, v, bundled(signAs(t, instance, cosigntest.Options{Identity: tc.identity, Issuer: tc.issuer})))
			if tc.want == ratify.IdentityMismatch {
				refused(t, err, tc.want, ratify.Quote(tc.identity), ratify.Quote(tc.issuer), "nobody@example.com")
				return
			}
			if err != nil || signer.Identity != tc.identity || signer.Issuer != tc.issuer {
				t.Errorf("%+v: %v", signer, err)
			}
		})
	}
}

// TestThresholds: authorities are counted, not what they say.
func TestThresholds(t *testing.T) {
	one, two, stranger := newSigstore(t, "one"), newSigstore(t, "two"), newSigstore(t, "stranger")
	key := newKey(t, cosigntest.P256)
	for _, tc := range []struct {
		name       string
		thresholds sigstore.Thresholds
		options    cosigntest.Options
		more       func(t *testing.T, s *cosigntest.Signed, verifier []byte)
		want       ratify.Code
		wantByKey  ratify.Code // empty: as want
	}{
		{name: "one log", thresholds: sigstore.Thresholds{TransparencyLogs: count(1)}, want: ratify.Verified},
		{name: "no log", options: cosigntest.Options{NoEntry: true}, want: ratify.TransparencyInvalid, wantByKey: ratify.Verified},
		{
			name: "the log of a stranger", options: cosigntest.Options{NoEntry: true},
			more: func(t *testing.T, s *cosigntest.Signed, verifier []byte) {
				check(t, stranger.Log(s, verifier, time.Now()))
			},
			want: ratify.TransparencyInvalid, wantByKey: ratify.Verified,
		},
		{
			name: "the same log twice", thresholds: sigstore.Thresholds{TransparencyLogs: count(2)},
			more: func(t *testing.T, s *cosigntest.Signed, verifier []byte) { check(t, one.Log(s, verifier, time.Now())) },
			want: ratify.TransparencyInvalid,
		},
		{
			name: "two logs", thresholds: sigstore.Thresholds{TransparencyLogs: count(2)},
			more: func(t *testing.T, s *cosigntest.Signed, verifier []byte) { check(t, two.Log(s, verifier, time.Now())) },
			want: ratify.Verified,
		},
		{name: "no timestamp", thresholds: sigstore.Thresholds{Timestamps: count(1)}, want: ratify.TimestampInvalid},
		{name: "a timestamp", thresholds: sigstore.Thresholds{Timestamps: count(1)}, options: cosigntest.Options{Stamp: true}, want: ratify.Verified},
		{
			name: "two timestamps of one authority", thresholds: sigstore.Thresholds{Timestamps: count(2)}, options: cosigntest.Options{Stamp: true},
			more: func(t *testing.T, s *cosigntest.Signed, _ []byte) { check(t, one.Stamp(s, time.Now())) },
			want: ratify.TimestampInvalid,
		},
		{
			name: "timestamps of two authorities", thresholds: sigstore.Thresholds{Timestamps: count(2)}, options: cosigntest.Options{Stamp: true},
			more: func(t *testing.T, s *cosigntest.Signed, _ []byte) { check(t, two.Stamp(s, time.Now())) },
			want: ratify.Verified,
		},
		{
			name: "the timestamp of a stranger", thresholds: sigstore.Thresholds{Timestamps: count(1)},
			more: func(t *testing.T, s *cosigntest.Signed, _ []byte) { check(t, stranger.Stamp(s, time.Now())) },
			want: ratify.TimestampInvalid,
		},
		{
			name: "the timestamp of another signature", thresholds: sigstore.Thresholds{Timestamps: count(1)},
			more: func(t *testing.T, s *cosigntest.Signed, _ []byte) {
				other := &cosigntest.Signed{Signature: []byte("another")}
				check(t, one.Stamp(other, time.Now()))
				s.Timestamps = other.Timestamps
			},
			want: ratify.TimestampInvalid,
		},
		{name: "a timestamp instead of a log", thresholds: sigstore.Thresholds{TransparencyLogs: count(0), Timestamps: count(1)}, options: cosigntest.Options{NoEntry: true, Stamp: true}, want: ratify.Verified},
		{name: "neither, though no log is asked for", thresholds: sigstore.Thresholds{TransparencyLogs: count(0)}, options: cosigntest.Options{NoEntry: true}, want: ratify.TimestampInvalid, wantByKey: ratify.Verified},
	} {
		t.Run(tc.name+"/identity", func(t *testing.T) {
			trust := byIdentity(t, one, two)
			trust.Thresholds = tc.thresholds
			signed := signAs(t, one, tc.options)
			if tc.more != nil {
				tc.more(t, signed, signed.CertificatePEM())
			}
			_, err := signatureOf(t, newVerifier(t, trust), bundled(signed))
			expect(t, err, tc.want)
		})
		t.Run(tc.name+"/key", func(t *testing.T) {
			trust := byIdentity(t, one, two) // with identities beside it, thresholds that ask keys for nothing are none
			trust.Keys = byKey(t, key).Keys
			trust.Thresholds = tc.thresholds
			signed := must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest)))
			if !tc.options.NoEntry {
				check(t, one.Log(signed, key.PublicPEM(), time.Now()))
			}
			if tc.options.Stamp {
				check(t, one.Stamp(signed, time.Now()))
			}
			if tc.more != nil {
				tc.more(t, signed, key.PublicPEM())
			}
			signer, err := signatureOf(t, newVerifier(t, trust), bundled(signed))
			want := tc.want
			if tc.wantByKey != "" {
				want = tc.wantByKey
			}
			expect(t, err, want)
			if asked := tc.thresholds != (sigstore.Thresholds{}) && tc.wantByKey == ""; err == nil && signer.Time.IsZero() == asked {
				t.Errorf("time %s", signer.Time)
			}
		})
	}
	for _, tc := range []struct {
		name  string
		logs  *int
		noSCT bool
		want  ratify.Code
	}{
		{"no certificate log", nil, true, ratify.TransparencyInvalid},
		{"no certificate log asked for", count(0), true, ratify.Verified},
		{"two certificate logs", count(2), false, ratify.TransparencyInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			trust := byIdentity(t, one, two)
			trust.Thresholds.CertificateLogs = tc.logs
			_, err := signatureOf(t, newVerifier(t, trust), bundled(signAs(t, one, cosigntest.Options{NoSCT: tc.noSCT})))
			if tc.want == ratify.Verified {
				expect(t, err, tc.want)
				return
			}
			refused(t, err, tc.want, "trusted certificate logs")
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTimes: a certificate of ten minutes is good for what was proven to be signed in them, for ever.
func TestTimes(t *testing.T) {
	instance := newSigstore(t, "ours")
	now := time.Now()
	for _, tc := range []struct {
		name         string
		signed, made time.Time // made: when the certificate was
		options      cosigntest.Options
		thresholds   sigstore.Thresholds
		want         ratify.Code
	}{
		{name: "hours ago", signed: now.Add(-20 * time.Hour), made: now.Add(-20 * time.Hour), want: ratify.Verified},
		{name: "hours ago, stamped", signed: now.Add(-20 * time.Hour), made: now.Add(-20 * time.Hour), options: cosigntest.Options{Stamp: true, NoEntry: true}, thresholds: sigstore.Thresholds{TransparencyLogs: count(0)}, want: ratify.Verified},
		{name: "logged after the certificate's end", signed: now, made: now.Add(-time.Hour), want: ratify.TransparencyInvalid},
		{name: "logged before its beginning", signed: now.Add(-time.Hour), made: now, want: ratify.TransparencyInvalid},
		{name: "stamped after its end", signed: now, made: now.Add(-time.Hour), options: cosigntest.Options{Stamp: true, NoEntry: true}, thresholds: sigstore.Thresholds{TransparencyLogs: count(0)}, want: ratify.CertificateExpired},
		{name: "before the authority was", signed: now.Add(-48 * time.Hour), made: now.Add(-48 * time.Hour), want: ratify.UntrustedSigner},
	} {
		t.Run(tc.name, func(t *testing.T) {
			trust := byIdentity(t, instance)
			trust.Thresholds = tc.thresholds
			tc.options.At, tc.options.IssuedAt = tc.signed, tc.made
			signer, err := signatureOf(t, newVerifier(t, trust), bundled(signAs(t, instance, tc.options)))
			expect(t, err, tc.want)
			if err == nil && !signer.Time.Equal(tc.signed.Truncate(time.Second)) {
				t.Errorf("signed at %s, want %s", signer.Time, tc.signed)
			}
		})
	}
}

// TestWhoIsAskedFor: a signature of one kind where only the other is trusted.
func TestWhoIsAskedFor(t *testing.T) {
	instance, key := newSigstore(t, "ours"), newKey(t, cosigntest.P256)
	keyless := bundled(signAs(t, instance, cosigntest.Options{}))
	byHand := bundled(must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest))))

	_, err := signatureOf(t, newVerifier(t, byKey(t, key)), keyless)
	refused(t, err, ratify.UntrustedSigner, workflow, `none of the keys "ci"`)
	_, err = signatureOf(t, newVerifier(t, byIdentity(t, instance)), byHand)
	refused(t, err, ratify.UntrustedSigner, "by a key, and only identities are trusted", workflow)

	both := byIdentity(t, instance)
	both.Keys = byKey(t, key).Keys
	v := newVerifier(t, both)
	for _, a := range []*cosigntest.Artifact{keyless, byHand} {
		if _, err := signatureOf(t, v, a); err != nil {
			t.Error(err)
		}
	}
}

// TestEarliestTime: of several proven times the earliest says until when a signature was made.
func TestEarliestTime(t *testing.T) {
	one, two := newSigstore(t, "one"), newSigstore(t, "two")
	trust := byIdentity(t, one, two)
	trust.Thresholds.TransparencyLogs = count(2)
	made := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, second := range []time.Duration{-time.Minute, time.Minute} {
		signed := signAs(t, one, cosigntest.Options{At: made, IssuedAt: made.Add(-2 * time.Minute)})
		check(t, two.Log(signed, signed.CertificatePEM(), made.Add(second)))
		signer, err := signatureOf(t, newVerifier(t, trust), bundled(signed))
		if want := made.Add(min(second, 0)); err != nil || !signer.Time.Equal(want) {
			t.Errorf("%s, want %s: %v", signer.Time, want, err)
		}
	}
}
