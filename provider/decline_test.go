package provider

import (
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
)

// TestDeclinedIsRecorded: what was not even begun leaves a record for each key, with the request's id that the answer has.
func TestDeclinedIsRecorded(t *testing.T) {
	f := newFace(t, "")
	takeWhole(f.provider.waiting)
	text := f.systemError(VerifyPath, "reg.example/pass:1", "reg.example/pass:2")
	records := f.logs.FilterMessage("verify").All()
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	for _, r := range records {
		m := r.ContextMap()
		if m["code"] != string(ratify.Overloaded) || !strings.Contains(text, m["requestID"].(string)) {
			t.Errorf("%v, the answer says %q", m, text)
		}
	}
}

func TestBadRequestIsRecorded(t *testing.T) {
	f := newFace(t, "")
	_, response := f.post(VerifyPath, "{")
	records := f.logs.FilterMessage("bad request").All()
	if len(records) != 1 || !strings.Contains(response.Response.SystemError, records[0].ContextMap()["requestID"].(string)) {
		t.Errorf("%v, the answer says %q", records, response.Response.SystemError)
	}
}

// TestAnswersInMemoryAreBounded: who finds no place for an answer until its deadline is told so, and asks again.
func TestAnswersInMemoryAreBounded(t *testing.T) {
	f := newFace(t, "")
	for range maxWriters {
		f.provider.writers <- struct{}{}
	}
	key := atDigest("pass", "x")
	began := time.Now()
	if text := f.systemError(VerifyPath, key); !strings.Contains(text, "OVERLOADED") {
		t.Errorf("%q", text)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("answered after %v", took)
	}
	for range maxWriters {
		<-f.provider.writers
	}
	f.verify(key)
	if len(f.provider.writers) != 0 {
		t.Error("a place was not given back")
	}
	if f.verifies.Load() != 1 {
		t.Errorf("%d verifications: the first one's result was to be kept", f.verifies.Load())
	}
}

// waiting has all places for answers taken, and a request about the key that waits for one of them.
func (f *face) waiting(key string) (answered <-chan string, free func()) {
	f.t.Helper()
	for range maxWriters {
		f.provider.writers <- struct{}{}
	}
	g, done := f.provider.current.Load(), make(chan string, 1)
	go func() { done <- f.direct(key) }()
	eventually(f.t, "its image is verified", func() bool { return g.cached().Entries == 1 })
	return done, func() {
		for range maxWriters {
			<-f.provider.writers
		}
	}
}

// TestConfigurationWhileWaitingForAPlace: a verdict that waits for its place for long is none any more if the policy that
// it was made by is not.
func TestConfigurationWhileWaitingForAPlace(t *testing.T) {
	f := newFace(t, "")
	f.provider.options.VerifyTimeout = patience
	answered, free := f.waiting(atDigest("pass", "x"))
	old := f.provider.current.Load()
	f.set(func() { f.result = ratify.Result{Code: ratify.UntrustedSigner} })
	f.provider.Install(f.engine(t), settings(t, ""))
	ended := time.Now().Add(-staleAfter)
	old.retired.Store(&ended)
	free()
	if answer := <-answered; !strings.Contains(answer, `"isSuccess":false`) {
		t.Errorf("%s", answer)
	}
	if len(f.provider.writers) != 0 || f.provider.queued.Load() != 0 {
		t.Error("a place was not given back")
	}
}

// TestFewWaitForAPlace: those that have an answer and no place for it are few, and who comes beyond is told so at once.
func TestFewWaitForAPlace(t *testing.T) {
	f := newFace(t, "")
	f.provider.options.VerifyTimeout = patience
	f.provider.queued.Store(maxQueued - 1)
	answered, free := f.waiting(atDigest("pass", "x"))
	began := time.Now()
	if text := f.direct(atDigest("pass", "x")); !strings.Contains(text, "OVERLOADED") {
		t.Errorf("%s", text)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("shed after %v", took)
	}
	free()
	if answer := <-answered; !strings.Contains(answer, `"isSuccess":true`) {
		t.Errorf("%s", answer)
	}
}

// TestRefusalOfATag: a tag that is not there is refused under the policy's name, and not asked for again at once.
func TestRefusalOfATag(t *testing.T) {
	f := newFace(t, "cache: {tagTTL: 300ms}")
	for range 3 {
		report := f.verify("reg.example/absent:1")["reg.example/absent:1"]
		if report["code"] != "SUBJECT_NOT_FOUND" || report["policy"] != "default" {
			t.Errorf("%v", report)
		}
	}
	if f.resolves.Load() != 1 {
		t.Errorf("%d manifests read", f.resolves.Load())
	}
	time.Sleep(350 * time.Millisecond)
	f.verify("reg.example/absent:1")
	if f.resolves.Load() != 2 {
		t.Errorf("%d manifests read after the tag's time", f.resolves.Load())
	}
	if report := f.verify("no reference")["no reference"]; report["policy"] != nil {
		t.Errorf("what names no repository is under a policy: %v", report)
	}
}
