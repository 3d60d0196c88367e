package provider

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ratify-provider/ratify"
)

// TestStrangersDoNotStandIn: whether the last known good verdict has to do is for the evidence to say that spoke for the image
// then. What else is attached neither keeps out what would stay, nor lets in what would not.
func TestStrangersDoNotStandIn(t *testing.T) {
	away, invalid, access := fails(ratify.RegistryUnavailable), fails(ratify.RegistryInvalid), fails(ratify.RegistryAuth)
	both := func(p *ratify.Policy) { p.Verifiers = []string{"signature", "other"} }
	type all = map[string]becoming
	for name, tc := range map[string]struct {
		policy      func(*ratify.Policy)
		first, then all
		stays       bool
	}{
		"a stranger's that is broken":            {nil, all{"signature/a": good}, all{"signature/a": away, "signature/0": invalid}, true},
		"and comes after it":                     {nil, all{"signature/a": good}, all{"signature/a": away, "signature/z": invalid}, true},
		"a stranger's in place of it":            {nil, all{"signature/a": good}, all{"signature/z": away}, false},
		"beside it, which is broken":             {nil, all{"signature/a": good}, all{"signature/a": invalid, "signature/z": away}, false},
		"beside it, to which access is refused":  {nil, all{"signature/a": good}, all{"signature/a": access, "signature/z": away}, false},
		"one of two that were good":              {nil, all{"signature/a": good}, all{"signature/a": away}, true},
		"of another kind that is still good":     {both, all{"signature/a": good, "other/b": good}, all{"signature/a": away, "other/b": good}, true},
		"of another kind that is there no more":  {both, all{"signature/a": good, "other/b": good}, all{"signature/a": away, "other/z": away}, false},
		"of another kind that is away, too":      {both, all{"signature/a": good, "other/b": good}, all{"signature/a": away, "other/b": away, "other/z": invalid}, true},
		"of another kind that cannot be told of": {both, all{"signature/a": good, "other/b": good}, all{"signature/a": away, "other/b": invalid}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &staged{}
				p, _ := s.provider(t, "", tc.policy)
				key := atDigest("app", "x")
				stage := func(become all) {
					s.set(func() {
						s.evidence, s.become = nil, become
						for e := range become {
							s.evidence = append(s.evidence, e)
						}
					})
				}
				stage(tc.first)
				if got := codeOf(t, p, key); got != ratify.Verified {
					t.Fatal(got)
				}
				time.Sleep(untilAgain)
				stage(tc.then)
				if got := codeOf(t, p, key); (got == ratify.LastKnownGood) != tc.stays {
					t.Error(got)
				}
			})
		})
	}
}

// TestAccessTakenAway: who was refused access once, however late the registry said so, is not let in while it is away.
func TestAccessTakenAway(t *testing.T) {
	for name, slow := range map[string]time.Duration{"at once": 0, "after the askers have gone": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &staged{}
				p, _ := s.provider(t, "", nil)
				key := atDigest("app", "x")
				codeOf(t, p, key)
				time.Sleep(untilAgain)
				refuses := func(ctx context.Context) error {
					time.Sleep(slow)
					return &ratify.Error{Code: ratify.RegistryAuth}
				}
				s.set(func() { s.read = refuses })
				codeOf(t, p, key)
				time.Sleep(workTime)
				s.set(func() {
					s.read = func(context.Context) error { return &ratify.Error{Code: ratify.RegistryUnavailable} }
				})
				if got := codeOf(t, p, key); got != ratify.RegistryUnavailable {
					t.Error(got)
				}
			})
		})
	}
}

// TestLateTurnIsNoOutage: an image that had to wait for its turn until its asker's time was nearly up, because of what others
// asked for, is not admitted as if its registry were away.
func TestLateTurnIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{}
		p, _ := s.provider(t, "concurrency: 1", nil)
		key := atDigest("app", "x")
		codeOf(t, p, key)
		time.Sleep(untilAgain)
		s.set(func() {
			s.read = func(context.Context) error {
				time.Sleep(200 * time.Millisecond) // as long as that takes
				return nil
			}
			s.become["signature/a"] = revoked
		})
		release, ok := p.current.Load().slots.try("other.example")
		if !ok {
			t.Fatal("no place")
		}
		time.AfterFunc(p.options.VerifyTimeout-standInReserve-100*time.Millisecond, release)
		if got := codeOf(t, p, key); got == ratify.LastKnownGood {
			t.Error("others have decided by what it is admitted")
		}
		time.Sleep(time.Second)
		if got := codeOf(t, p, key); got != ratify.CertificateRevoked {
			t.Error(got)
		}
	})
}
