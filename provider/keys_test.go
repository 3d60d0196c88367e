package provider

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify"
)

// TestParsedKeys: a key is remembered, or not, but never taken for another one.
func TestParsedKeys(t *testing.T) {
	keys := newParsedKeys()
	var all sync.WaitGroup
	for caller := range 8 {
		all.Go(func() {
			for i := range 2 * keyPlaces {
				key := fmt.Sprintf("reg.example/pass:%d", i/(caller+1))
				if k := keys.get(key); k != nil && k.subject.Tag != key {
					t.Errorf("%s is %s", key, k.subject.Tag)
				}
				keys.put(newParsedKey(key, ratify.Subject{Tag: key}))
			}
		})
	}
	all.Wait()
	last := newParsedKey("last", ratify.Subject{})
	if keys.put(last); keys.get("last") != last {
		t.Error("it is not remembered")
	}
	long := strings.Repeat("x", maxRememberedKey+1)
	if keys.put(newParsedKey(long, ratify.Subject{})); keys.get(long) != nil {
		t.Error("a long key is remembered")
	}
}

// TestOnlyKnownKeysAreRemembered: what was refused before it was looked for, or could not be told, takes no place.
func TestOnlyKnownKeysAreRemembered(t *testing.T) {
	f := newFace(t, "")
	keys := f.provider.current.Load().keys
	known, unknown := atDigest("pass", "x"), []string{"not a reference", "reg.example/UPPER:1", "reg.example/down:1"}
	for range 2 {
		f.verify(known)
		for _, key := range unknown {
			f.post(VerifyPath, requestBody(key))
		}
	}
	if keys.get(known) == nil {
		t.Error("a known image's key is parsed again")
	}
	for _, key := range unknown {
		if keys.get(key) != nil {
			t.Errorf("%s is remembered", key)
		}
	}
}

// TestSpellingsAreRememberedApart: each has its own key, and all the verdict of the one image.
func TestSpellingsAreRememberedApart(t *testing.T) {
	f := newFace(t, "")
	d := digest.FromString("x").String()
	for range 3 {
		for _, key := range []string{"reg.example/pass@" + d, "REG.example/pass@" + d, "reg.example/pass:1@" + d} {
			if report := f.verify(key)[key]; report["subject"] != "reg.example/pass@"+d || report["isSuccess"] != true {
				t.Errorf("%s: %v", key, report)
			}
		}
	}
	if f.verifies.Load() != 1 {
		t.Errorf("%d verifications", f.verifies.Load())
	}
}

// TestTagIsLookedUpAgain: its key is remembered, and what it is resolved to is not.
func TestTagIsLookedUpAgain(t *testing.T) {
	f := newFace(t, "cache: {tagTTL: 1h}")
	key := "reg.example/pass:1"
	for range 3 {
		f.verify(key)
	}
	g := f.provider.current.Load()
	g.tags.Delete(tagKey(g.keys.get(key).subject))
	moved := digest.FromString("moved")
	f.set(func() { f.digests[key] = moved })
	if report := f.verify(key)[key]; report["digest"] != moved.String() {
		t.Errorf("%v", report)
	}
}

// TestRememberedKeyIsNoSpelling: a key that looks like the JSON of another one is not taken for it.
func TestRememberedKeyIsNoSpelling(t *testing.T) {
	keys := newParsedKeys()
	keys.put(newParsedKey(`\u0041`, ratify.Subject{}))
	got, _, err := keys.decodeRequest([]byte(usualHead + `\u0041` + usualTail))
	if err != nil || len(got) != 1 || got[0] != "A" {
		t.Errorf("%q, %v", got, err)
	}
}
