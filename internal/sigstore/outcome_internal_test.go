package sigstore

import (
	"fmt"
	"runtime"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestOutcomesAreBounded: what is remembered takes no more memory than it is counted for, nor than it may.
func TestOutcomesAreBounded(t *testing.T) {
	identity := func(i int) Signer {
		s := Signer{Identity: fmt.Sprintf("https://ci.example/acme/app-%d/.ci/release.yml@refs/heads/main", i), Issuer: "https://token.ci.example", Claims: map[string]string{}}
		for _, name := range []string{"sourceRepository", "sourceRepositoryDigest", "sourceRepositoryRef", "buildSigner", "buildConfig", "buildTrigger", "runInvocation"} {
			s.Claims[name] = fmt.Sprintf("https://ci.example/acme/app-%d/.ci/release.yml@refs/heads/main", i)
		}
		return s
	}
	for name, signer := range map[string]func(i int) Signer{
		"keys":       func(int) Signer { return Signer{Key: "ci"} },
		"identities": identity,
	} {
		t.Run(name, func(t *testing.T) {
			shared := NewShared()
			v := &Verifier{shared: shared}
			before := heap()
			for i := range 3 * maxOutcomes {
				b := blob{Descriptor: ocispec.Descriptor{MediaType: BundleType}}
				shared.outcomes.Set(v.outcome("signature", b, []byte(fmt.Sprint(i)), ocispec.Descriptor{}), signer(i), outcomeLife)
			}
			held, stats := heap()-before, shared.outcomes.Stats()
			t.Logf("%d outcomes counted for %d bytes take %d", stats.Entries, stats.Bytes, held)
			if stats.Entries > maxOutcomes || stats.Bytes > maxOutcomeBytes || held > maxOutcomeBytes*115/100 {
				t.Errorf("%d entries of %d bytes take %d", stats.Entries, stats.Bytes, held)
			}
			runtime.KeepAlive(shared)
		})
	}
}

// heap is what lives after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
