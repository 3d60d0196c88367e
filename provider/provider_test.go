package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/ratify-provider/ratify"
)

func TestVerifyAnswersEachKey(t *testing.T) {
	f := newFace(t, "")
	reports := f.verify("reg.example/pass:1", "reg.example/unsigned:1", "reg.example/stranger", "reg.example/absent", "other.example/app:1", "not a reference")
	for key, want := range map[string]struct {
		success bool
		code    ratify.Code
		message string
	}{
		"reg.example/pass:1":     {true, ratify.Verified, "verification succeeded"},
		"reg.example/unsigned:1": {false, ratify.NoReferrers, "verification failed: no referrers found for this artifact"},
		"reg.example/stranger":   {false, ratify.UntrustedSigner, "verification failed: signature is not produced by a trusted signer"},
		"reg.example/absent":     {false, ratify.SubjectNotFound, "verification failed: the image does not exist in its registry"},
		"other.example/app:1":    {false, ratify.NoPolicy, `verification failed: no policy applies to "other.example/app"`},
		"not a reference":        {false, ratify.BadReference, `verification failed: the image reference "not a reference" is malformed: has a character that is not printable ASCII`},
	} {
		r := reports[key]
		if r["isSuccess"] != want.success || r["succeeded"] != want.success || r["code"] != string(want.code) || r["message"] != want.message {
			t.Errorf("%s: got %v %v %q", key, r["isSuccess"], r["code"], r["message"])
		}
		if r["version"] != "1.0" || r["traceID"] == "" {
			t.Errorf("%s: version %v, trace %v", key, r["version"], r["traceID"])
		}
		if end, _ := r["notAfter"].(float64); (end > float64(time.Now().Unix())) != want.success {
			t.Errorf("%s: notAfter %v", key, r["notAfter"])
		}
	}
	if f.resolves.Load() != 4 {
		t.Errorf("%d manifests were read; an image that no policy names, or no reference at all, needs none", f.resolves.Load())
	}
}

func TestDuplicatesAndEmpty(t *testing.T) {
	f := newFace(t, "")
	keys := make([]string, maxKeys)
	for i := range keys {
		keys[i] = atDigest("pass", "x")
	}
	_, response := f.post(VerifyPath, requestBody(keys...))
	if len(response.Response.Items) != 1 || f.verifies.Load() != 1 {
		t.Errorf("%d items and %d verifications for one image", len(response.Response.Items), f.verifies.Load())
	}
	_, response = f.post(VerifyPath, requestBody())
	if len(response.Response.Items) != 0 || response.Response.SystemError != "" {
		t.Errorf("no keys: %+v", response.Response)
	}
}

func TestKeysAreEchoedByteForByte(t *testing.T) {
	f := newFace(t, "")
	for _, key := range []string{"reg.example/pass:1", "REG.example/pass:1", "reg.example:443/pass:1", "", " ", "<a&b>\u2028", `"quoted"`, "é", strings.Repeat("a", 3000)} {
		f.verify(key) // makes sure of it
	}
}

func TestUnknownIsASystemError(t *testing.T) {
	f := newFace(t, "")
	text := f.systemError(VerifyPath, "reg.example/unsigned:1", "reg.example/pass:1", "reg.example/down:1")
	for _, want := range []string{"1 of 3 images could not be told", "reg.example/unsigned:1: NO_REFERRERS", "reg.example/down:1: REGISTRY_UNAVAILABLE: registry reg.example answered 503. try again"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if strings.Index(text, "NO_REFERRERS") > strings.Index(text, "REGISTRY_UNAVAILABLE") {
		t.Errorf("refusals come first: %q", text)
	}
	// What could not be told is asked again; what could be is not.
	resolves := f.resolves.Load()
	f.systemError(VerifyPath, "reg.example/unsigned:1", "reg.example/down:1")
	if got := f.resolves.Load() - resolves; got != 1 {
		t.Errorf("%d manifests read again, want that of the unknown alone", got)
	}
}

func TestPanicsAreContained(t *testing.T) {
	f := newFace(t, "")
	for _, key := range []string{"reg.example/panic:1", "reg.example/verifier-panics:1"} {
		if text := f.systemError(VerifyPath, key); !strings.Contains(text, "INTERNAL") {
			t.Errorf("%s: %q", key, text)
		}
	}
	f.systemError(MutatePath, "reg.example/panic:1")
	f.verify("reg.example/pass:1")
}

func TestPanicInAnOperation(t *testing.T) {
	f := newFace(t, "")
	f.provider.current.Load().verdicts = nil // the next lookup panics in the key's own goroutine
	text := f.systemError(VerifyPath, atDigest("pass", "x"))
	if !strings.Contains(text, "INTERNAL") || testutil.ToFloat64(f.provider.options.Metrics.panics) != 1 {
		t.Errorf("%q, %v panics counted", text, testutil.ToFloat64(f.provider.options.Metrics.panics))
	}
}

func TestBadRequests(t *testing.T) {
	good := requestBody("reg.example/pass:1")
	many := make([]string, maxKeys+1)
	for i := range many {
		many[i] = fmt.Sprintf("reg.example/pass:%d", i)
	}
	for name, c := range map[string]struct {
		body, want string
		status     int
	}{
		"empty":                     {"", "EOF", 400},
		"not JSON":                  {"{", "malformed", 400},
		"array":                     {"[]", "malformed", 400},
		"null":                      {"null", "malformed", 400},
		"trailing data":             {good + "{}", "after its end", 400},
		"trailing garbage":          {good + "x", "after its end", 400},
		"duplicate field":           {strings.Replace(good, `"kind"`, `"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind"`, 1), "twice", 400},
		"duplicate by case":         {strings.Replace(good, `"keys"`, `"Keys":["a"],"keys"`, 1), "is spelled", 400},
		"field of another case":     {strings.Replace(good, `"kind"`, `"Kind"`, 1), `field "Kind" is spelled "kind"`, 400},
		"duplicate by long s":       {strings.Replace(good, `"keys"`, `"keyſ":["a"],"keys"`, 1), `"key\u017f" is spelled "keys"`, 400},
		"invalid UTF-8":             {strings.Replace(good, "pass", "pa\xffss", 1), "UTF-8", 400},
		"another apiVersion":        {strings.Replace(good, "v1beta1", "v1alpha1", 1), "apiVersion", 400},
		"another kind":              {strings.Replace(good, "ProviderRequest", "ProviderResponse", 1), "kind", 400},
		"keys no list":              {`{"apiVersion":"` + apiVersion + `","kind":"ProviderRequest","request":{"keys":"a"}}`, "malformed", 400},
		"null key":                  {`{"apiVersion":"` + apiVersion + `","kind":"ProviderRequest","request":{"keys":[null]}}`, "malformed", 400},
		"number key":                {`{"apiVersion":"` + apiVersion + `","kind":"ProviderRequest","request":{"keys":[1]}}`, "malformed", 400},
		"request null":              {`{"apiVersion":"` + apiVersion + `","kind":"ProviderRequest","request":null}`, "malformed", 400},
		"65 keys":                   {requestBody(many...), "65 keys, more than 64", 400},
		"257 KiB":                   {requestBody(strings.Repeat("x", 257<<10)), "larger than 262144 bytes", 413},
		"deep in an unknown field":  {strings.Replace(good, `"kind"`, `"x":`+strings.Repeat("[", 100000)+`,"kind"`, 1), "nested deeper", 400},
		"cut in an unknown field":   {`{"x":{"y":`, "malformed", 400},
		"unknown field cut as list": {`{"x":[1,`, "malformed", 400},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFace(t, "")
			status, response := f.post(VerifyPath, c.body)
			if status != c.status || !strings.Contains(response.Response.SystemError, c.want) {
				t.Errorf("status %d, %q; want %d, %q", status, response.Response.SystemError, c.status, c.want)
			}
			if f.resolves.Load() != 0 {
				t.Error("a bad request caused work")
			}
		})
	}
}

func TestUnknownFieldsAreCounted(t *testing.T) {
	f := newFace(t, "")
	body := strings.Replace(requestBody("reg.example/pass:1"), `"kind"`, `"new":{"a":[1,{"b":null}]},"kind"`, 1)
	if _, response := f.post(VerifyPath, body); response.Response.SystemError != "" {
		t.Fatal(response.Response.SystemError)
	}
	if got := testutil.ToFloat64(f.provider.options.Metrics.unknownFields); got != 1 {
		t.Errorf("%v unknown fields counted, want 1", got)
	}
}

func TestMethodPathAndContentType(t *testing.T) {
	f := newFace(t, "")
	for _, c := range []struct {
		method, path, contentType string
		status                    int
	}{
		{"GET", VerifyPath, "application/json", 405},
		{"PUT", MutatePath, "application/json", 405},
		{"POST", "/", "application/json", 404},
		{"POST", VerifyPath + "/", "application/json", 404},
		{"POST", "/" + VerifyPath, "application/json", 404},
		{"POST", "/ratify/../ratify/gatekeeper/v1/verify", "application/json", 404},
		{"POST", "/ratify/gatekeeper/v2/verify", "application/json", 404},
		{"POST", VerifyPath, "text/plain", 415},
		{"POST", VerifyPath, "", 415},
	} {
		req, _ := http.NewRequest(c.method, f.url+c.path, strings.NewReader(requestBody("reg.example/pass:1")))
		req.Header.Set("Content-Type", c.contentType)
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		r.Body.Close()
		response := decodeResponse(t, body.Bytes())
		if r.StatusCode != c.status || response.Response.SystemError == "" {
			t.Errorf("%s %s %q: status %d, %+v", c.method, c.path, c.contentType, r.StatusCode, response.Response)
		}
	}
}

func TestNothingIsServedBeforeAConfiguration(t *testing.T) {
	f := newFace(t, "")
	configured := f.provider.current.Swap(nil)
	defer f.provider.current.Store(configured)
	if f.provider.Ready() {
		t.Error("ready without a configuration")
	}
	if text := f.systemError(VerifyPath, "reg.example/pass:1"); !strings.Contains(text, "no configuration") {
		t.Errorf("%q", text)
	}
}

// TestDeadline: the answer comes in time and says how far it got; the work goes on; the retry finds it done.
func TestDeadline(t *testing.T) {
	f := newFace(t, "")
	key := atDigest("slow", "x")
	began := time.Now()
	text := f.systemError(VerifyPath, key, "reg.example/pass:1")
	if took := time.Since(began); took > 600*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
	for _, want := range []string{"1 of 2 images could not be told", "DEADLINE", "while reading a signature", "try again"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	close(f.gate)
	if report := f.verify(key)[key]; report["isSuccess"] != true {
		t.Errorf("the retry: %v", report)
	}
	if f.verifies.Load() != 2 {
		t.Errorf("%d verifications, want one for each image", f.verifies.Load())
	}
}

// TestTagWorkGoesOn: with nobody waiting any more, the step after the tag's resolution follows.
func TestTagWorkGoesOn(t *testing.T) {
	f := newFace(t, "")
	f.systemError(VerifyPath, "reg.example/slow:1")
	close(f.gate)
	if report := f.verify("reg.example/slow:1")["reg.example/slow:1"]; report["isSuccess"] != true {
		t.Errorf("the retry: %v", report)
	}
	if f.verifies.Load() != 1 || f.resolves.Load() != 1 {
		t.Errorf("%d verifications, %d resolutions, want one of each", f.verifies.Load(), f.resolves.Load())
	}
}

// TestOneVerificationForAll: a thousand callers, the first of them gone, one verification.
func TestOneVerificationForAll(t *testing.T) {
	f := newFace(t, "")
	key := atDigest("slow", "x")
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan struct{})
	go func() {
		defer close(first)
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, f.url+VerifyPath, strings.NewReader(requestBody(key)))
		req.Header.Set("Content-Type", "application/json")
		if r, err := http.DefaultClient.Do(req); err == nil {
			r.Body.Close()
		}
	}()
	for f.verifies.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-first
	g := f.provider.current.Load()
	s, _ := ratify.ParseKey(key)
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			v, _, err := g.verify(t.Context(), s)
			if err != nil || !v.report.IsSuccess {
				t.Errorf("%v, %+v", err, v)
			}
		})
	}
	close(f.gate)
	all.Wait()
	if f.verifies.Load() != 1 {
		t.Errorf("%d verifications", f.verifies.Load())
	}
}

func TestOverload(t *testing.T) {
	f := newFace(t, "")
	g := f.provider.current.Load()
	takeWhole(g.queue)
	if text := f.systemError(VerifyPath, "reg.example/pass:1"); !strings.Contains(text, "OVERLOADED") {
		t.Errorf("%q", text)
	}
	takeWhole(f.provider.waiting)
	for _, path := range []string{VerifyPath, MutatePath} {
		if text := f.systemError(path, "reg.example/pass:1"); !strings.Contains(text, "OVERLOADED: too many images are waited for") {
			t.Errorf("%q", text)
		}
	}
	// What needs no registry is answered all the same.
	if report := f.verify("not a reference")["not a reference"]; report["code"] != "BAD_REFERENCE" {
		t.Errorf("%v", report)
	}
}

// TestConcurrencyIsBounded: no more engine calls are under way than the configuration says; who waits for a turn is told.
func TestConcurrencyIsBounded(t *testing.T) {
	f := newFace(t, "concurrency: 2")
	text := f.systemError(VerifyPath, atDigest("slow", "1"), atDigest("slow", "2"), atDigest("slow", "3"))
	if got := f.verifies.Load(); got != 2 {
		t.Errorf("%d at the same time, want 2", got)
	}
	if !strings.Contains(text, "while waiting for its turn") {
		t.Errorf("%q", text)
	}
	close(f.gate)
}

func TestCache(t *testing.T) {
	t.Run("a verdict is kept by digest, not by tag", func(t *testing.T) {
		f := newFace(t, "cache: {tagTTL: 1ns}")
		f.verify("reg.example/pass:1")
		f.set(func() { f.digests["reg.example/pass:1"] = digest.FromString("moved") })
		report := f.verify("reg.example/pass:1")["reg.example/pass:1"]
		if report["digest"] != digest.FromString("moved").String() || f.verifies.Load() != 2 {
			t.Errorf("%v after %d verifications", report["digest"], f.verifies.Load())
		}
	})
	t.Run("spellings of one image share a verdict", func(t *testing.T) {
		f := newFace(t, "")
		d := digest.FromString("x")
		f.verify("reg.example/pass@"+d.String(), "reg.example/pass:tag@"+d.String(), "REG.EXAMPLE:443/pass@"+d.String())
		if f.verifies.Load() != 1 {
			t.Errorf("%d verifications", f.verifies.Load())
		}
	})
	t.Run("it ends with the certificate", func(t *testing.T) {
		f := newFace(t, "gatekeeperCacheTTL: 1ns")
		f.set(func() { f.result.NotAfter = time.Now().Add(1200 * time.Millisecond) })
		key := atDigest("pass", "x")
		f.verify(key)
		f.verify(key)
		if f.verifies.Load() != 1 {
			t.Fatalf("%d verifications before the end", f.verifies.Load())
		}
		time.Sleep(1300 * time.Millisecond)
		if report := f.verify(key)[key]; report["isSuccess"] != false || report["code"] != "SIGNATURE_EXPIRED" {
			t.Errorf("after the end: %v", report)
		}
	})
	t.Run("it ends with the revocation answer", func(t *testing.T) {
		f := newFace(t, "")
		f.set(func() { f.result.FreshUntil = time.Now().Add(-time.Second) })
		f.verify(atDigest("pass", "x"))
		f.verify(atDigest("pass", "x"))
		if f.verifies.Load() != 2 {
			t.Errorf("%d verifications", f.verifies.Load())
		}
	})
	t.Run("what ends before Gatekeeper forgets it is looked at again", func(t *testing.T) {
		f := newFace(t, "gatekeeperCacheTTL: 30s")
		f.set(func() { f.result.NotAfter = time.Now().Add(20 * time.Second) })
		f.verify(atDigest("pass", "x"))
		f.verify(atDigest("pass", "x"))
		if f.verifies.Load() != 2 {
			t.Errorf("%d verifications", f.verifies.Load())
		}
	})
	t.Run("a refusal is kept shortly", func(t *testing.T) {
		f := newFace(t, "cache: {refusalTTL: 50ms}")
		key := atDigest("stranger", "x")
		f.verify(key)
		f.verify(key)
		if f.verifies.Load() != 1 {
			t.Errorf("%d verifications at once", f.verifies.Load())
		}
		time.Sleep(60 * time.Millisecond)
		f.verify(key)
		if f.verifies.Load() != 2 {
			t.Errorf("%d verifications later", f.verifies.Load())
		}
	})
}

func TestReportsAreBounded(t *testing.T) {
	f := newFace(t, "")
	_, response := f.post(VerifyPath, requestBody("reg.example/large:1"))
	data, err := json.Marshal(response.Response.Items[0].Value)
	if err != nil || len(data) > maxReportBytes {
		t.Errorf("%v, %d bytes", err, len(data))
	}
	if report := response.Response.Items[0].Value.(map[string]any); report["isSuccess"] != true {
		t.Errorf("%v", report)
	}
	logged := f.logs.FilterMessage("verify").All()[0].ContextMap()["verifierReports"].(json.RawMessage)
	if len(logged) > maxVerifiersBytes || !json.Valid(logged) {
		t.Errorf("%d bytes logged", len(logged))
	}
}

// TestWorstReport: no text that is long, or long in JSON, makes a report longer than its bound.
func TestWorstReport(t *testing.T) {
	worst := strings.Repeat("<", 10*ratify.MaxTextBytes)
	report := &ratify.Report{Version: ratify.ReportVersion, Message: worst, Remedy: worst, IsSuccess: true}
	for range 4 * ratify.MaxEvidence {
		report.VerifierReports = append(report.VerifierReports, ratify.VerifierReport{
			IsSuccess: true, Message: worst, Remedy: worst, ArtifactType: worst[:ratify.MaxTextBytes], Extensions: map[string]any{"signer": worst},
			NestedReports: []ratify.VerifierReport{{Message: worst, Extensions: map[string]any{"signer": worst}}}})
	}
	v, err := newVerdict(report)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.encoded) > maxReportBytes || len(v.verifiers) > maxVerifiersBytes {
		t.Errorf("%d and %d bytes", len(v.encoded), len(v.verifiers))
	}
	var back ratify.Report
	if err := json.Unmarshal(v.value("k"), &back); err != nil || !back.IsSuccess || len(back.VerifierReports) == 0 {
		t.Errorf("%v, %d verifier reports", err, len(back.VerifierReports))
	}
}

// TestInstall: a request that arrives after a configuration was installed sees nothing of the one before, and one that
// is under way for longer is run again.
func TestInstall(t *testing.T) {
	f := newFace(t, "")
	key := atDigest("pass", "x")
	f.verify(key)
	f.set(func() { f.result = ratify.Result{Code: ratify.UntrustedSigner} })
	f.provider.Install(f.engine(t), settings(t, ""))
	if report := f.verify(key)[key]; report["isSuccess"] != false {
		t.Errorf("a verdict outlived its configuration: %v", report)
	}

	f.provider.options.VerifyTimeout = 5 * time.Second
	slow := atDigest("slow", "y")
	f.set(func() { f.result = ratify.Result{Passed: true} })
	old := f.provider.current.Load()
	answered := make(chan *externaldata.ProviderResponse)
	go func() {
		answered <- compose(f.provider.answer(t.Context(), f.provider.verify, []string{slow}), "id")
	}()
	for f.verifies.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	f.provider.Install(f.engine(t), settings(t, ""))
	long := time.Now().Add(-2 * staleAfter)
	old.retired.Store(&long)
	f.set(func() { f.result = ratify.Result{Code: ratify.UntrustedSigner} })
	close(f.gate)
	response := <-answered
	v := response.Response.Items[0].Value.(json.RawMessage)
	if !bytes.Contains(v, []byte(`"isSuccess":false`)) || f.verifies.Load() != 4 {
		t.Errorf("a request under way got the old configuration's verdict: %s", v)
	}
	if old.cached().Entries == 0 {
		t.Error("the old generation had no verdict: the test does not test")
	}
}

func TestMutate(t *testing.T) {
	d := digest.FromString("reg.example/pass:1").String()
	latest := digest.FromString("reg.example/pass:latest").String()
	for name, c := range map[string]struct{ settings, key, want string }{
		"tag":                  {"", "reg.example/pass:1", "reg.example/pass:1@" + d},
		"no tag":               {"", "reg.example/pass", "reg.example/pass@" + latest},
		"as spelled":           {"", "REG.example:443/pass:1", "REG.example:443/pass:1@" + d},
		"a digest":             {"", "reg.example/pass@" + d, "reg.example/pass@" + d},
		"tag and digest":       {"", "reg.example/pass:2@" + d, "reg.example/pass:2@" + d},
		"digest alone, tag":    {"mutation: {reference: digest}", "reg.example/pass:1", "reg.example/pass@" + d},
		"digest alone, no tag": {"mutation: {reference: digest}", "reg.example/pass", "reg.example/pass@" + latest},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFace(t, c.settings)
			_, response := f.post(MutatePath, requestBody(c.key))
			if len(response.Response.Items) != 1 {
				t.Fatalf("%+v", response.Response)
			}
			if item := response.Response.Items[0]; item.Key != c.key || item.Value != c.want || item.Error != "" {
				t.Errorf("%+v, want %s", item, c.want)
			}
			// The pinned reference maps to itself, or an update would change it again.
			_, response = f.post(MutatePath, requestBody(c.want))
			if item := response.Response.Items[0]; item.Value != c.want {
				t.Errorf("pinned again: %+v", item)
			}
		})
	}
}

func TestMutateNeverGivesTheUnpinnedReference(t *testing.T) {
	f := newFace(t, "")
	for key, code := range map[string]string{"reg.example/absent:1": "SUBJECT_NOT_FOUND", "not a reference": "BAD_REFERENCE"} {
		_, response := f.post(MutatePath, requestBody(key))
		if len(response.Response.Items) != 1 || response.Response.Items[0].Value != nil || !strings.HasPrefix(response.Response.Items[0].Error, code) {
			t.Errorf("%s: %+v", key, response.Response)
		}
	}
	for _, key := range []string{"reg.example/down:1", "reg.example/hang:1"} {
		if text := f.systemError(MutatePath, key, "reg.example/pass:1"); !strings.Contains(text, "could not be told") {
			t.Errorf("%s: %q", key, text)
		}
	}
}

// TestMutateWarms: what mutation resolved is verified when validation asks.
func TestMutateWarms(t *testing.T) {
	f := newFace(t, "")
	_, response := f.post(MutatePath, requestBody("reg.example/pass:1"))
	pinned := response.Response.Items[0].Value.(string)
	f.verify(pinned, "reg.example/pass:1")
	if f.resolves.Load() != 1 || f.verifies.Load() != 1 {
		t.Errorf("%d resolutions, %d verifications", f.resolves.Load(), f.verifies.Load())
	}
}

// TestLog: one record for each key, the report's fields at its top.
func TestLog(t *testing.T) {
	f := newFace(t, "")
	f.verify("reg.example/stranger:1", "reg.example/pass:1")
	f.verify("reg.example/pass:1")
	f.systemError(VerifyPath, "reg.example/down:1")
	f.systemError(VerifyPath, "reg.example/slow:1")
	f.post(MutatePath, requestBody("reg.example/pass:1"))
	records := map[string][]map[string]any{}
	for _, entry := range f.logs.All() {
		m := entry.ContextMap()
		records[fmt.Sprint(entry.Message, " ", m["key"])] = append(records[fmt.Sprint(entry.Message, " ", m["key"])], m)
	}
	stranger := records["verify reg.example/stranger:1"]
	if len(stranger) != 1 || stranger[0]["isSuccess"] != false || stranger[0]["code"] != "UNTRUSTED_SIGNER" ||
		!strings.HasPrefix(stranger[0]["subject"].(string), "reg.example/stranger@sha256:") ||
		!strings.Contains(fmt.Sprintf("%s", stranger[0]["verifierReports"]), "signature is not produced by a trusted signer") {
		t.Errorf("stranger: %v", stranger)
	}
	pass := records["verify reg.example/pass:1"]
	if len(pass) != 2 || pass[0]["cached"] != false || pass[1]["cached"] != true || pass[0]["traceID"] != pass[1]["traceID"] || pass[0]["requestID"] == pass[1]["requestID"] {
		t.Errorf("pass: %v", pass)
	}
	if down := records["verify reg.example/down:1"]; len(down) != 1 || down[0]["code"] != "REGISTRY_UNAVAILABLE" {
		t.Errorf("down: %v", down)
	}
	if slow := records["verify reg.example/slow:1"]; len(slow) != 1 || slow[0]["code"] != "DEADLINE" {
		t.Errorf("slow: %v", slow)
	}
	if pinned := records["mutate reg.example/pass:1"]; len(pinned) != 1 || pinned[0]["code"] != "PINNED" {
		t.Errorf("mutate: %v", pinned)
	}
	close(f.gate)
}

func TestSystemErrorIsBounded(t *testing.T) {
	r := decodeResponse(t, systemError(strings.Repeat("é", maxSystemErrorBytes)))
	if n := len(r.Response.SystemError); n > maxSystemErrorBytes || n < maxSystemErrorBytes-8 {
		t.Errorf("%d bytes", n)
	}
	if decodeResponse(t, systemError("")).Response.SystemError == "" {
		t.Error("an empty systemError is none")
	}
}

// TestSystemErrorIsOfTheProtocol: it is what Gatekeeper's own types make of it, byte for byte.
func TestSystemErrorIsOfTheProtocol(t *testing.T) {
	for _, text := range []string{"plain", "<&> \" \\ \n é \u2028", "\xff"} {
		want, err := json.Marshal(&externaldata.ProviderResponse{
			APIVersion: externaldata.NewProviderRequest(nil).APIVersion, Kind: externaldata.ProviderResponseKind,
			Response: externaldata.Response{Idempotent: true, SystemError: text},
		})
		if got := systemError(text); err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %s, want %s, %v", got, want, err)
		}
	}
}

// TestSystemErrorNamesTheUnknown: however many images are refused, and whatever they are called, the text says which one
// could not be told and why, and it holds nothing that a terminal obeys.
func TestSystemErrorNamesTheUnknown(t *testing.T) {
	f := newFace(t, "")
	keys := []string{"reg.example/down:1"}
	for i := range maxKeys - 1 {
		keys = append(keys, fmt.Sprintf("\x1b[31m\n%d %s", i, strings.Repeat("x", 200)))
	}
	text := f.systemError(VerifyPath, keys...)
	for _, want := range []string{"1 of 64 images could not be told: ", "BAD_REFERENCE", "reg.example/down:1: REGISTRY_UNAVAILABLE: registry reg.example answered 503. ", " more; ", " (request "} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q: %q", want, text)
		}
	}
	if len(text) > maxSystemErrorBytes || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("%d bytes: %q", len(text), text)
	}
	// Nor do the words of a refusal, beside the key, which is echoed.
	key := "a\x1b[31m"
	report := f.verify(key)[key]
	for name, value := range report {
		if text, ok := value.(string); ok && name != "key" && strings.Contains(text, "\x1b") {
			t.Errorf("%s: %q", name, text)
		}
	}
	for _, entry := range f.logs.All() {
		if fmt.Sprint(entry.ContextMap()) != strings.ReplaceAll(fmt.Sprint(entry.ContextMap()), "\x1b", "") {
			t.Errorf("logged: %v", entry.ContextMap())
		}
	}
}

func TestCausesAreBounded(t *testing.T) {
	f := newFace(t, "")
	f.provider.record("verify", "id", []answer{{key: "k", problem: &ratify.Error{Code: ratify.Internal, Err: errors.New(strings.Repeat("x", 1<<20))}}}, 0)
	m := f.logs.All()[0].ContextMap()
	if n := len(m["cause"].(string)); n > maxCauseBytes || m["traceID"] == "" || m["subject"] != "k" {
		t.Errorf("%d bytes, %v %v", n, m["traceID"], m["subject"])
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{requestBody("a"), requestBody("a", "a", "b"), "{}", `{"request":{"keys":[{}]}}`, `{"a":[[[[`, strings.Replace(requestBody("a"), `"keys"`, `"keyſ":["b"],"keys"`, 1), strings.Replace(requestBody("a"), `"keys"`, `"Keys"`, 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _, err := decodeRequest(body)
		if err != nil {
			return
		}
		// What is accepted is read the same way by the framework's own type.
		var same externaldata.ProviderRequest
		if err := json.Unmarshal(body, &same); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if len(keys) != len(same.Request.Keys) {
			t.Fatalf("%q, but %q", keys, same.Request.Keys)
		}
		for i := range keys {
			if keys[i] != same.Request.Keys[i] {
				t.Fatalf("%q, but %q", keys, same.Request.Keys)
			}
		}
	})
}
