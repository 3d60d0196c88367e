package notation

import (
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"
)

// TestCheckKeys: each certificate's key counts, whoever it is of.
func TestCheckKeys(t *testing.T) {
	of := func(bits uint) *x509.Certificate {
		return &x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1), E: 65537}}
	}
	for bits, good := range map[uint]bool{1024: false, 2047: false, 2048: true, 4096: true, 8192: true, 8193: false, 65536: false} {
		for name, chain := range map[string][]*x509.Certificate{"leaf": {of(bits), of(4096)}, "issuer": {of(4096), of(bits)}} {
			if err := checkKeys(chain); (err == nil) != good {
				t.Errorf("%s with %d bits: %v", name, bits, err)
			}
		}
	}
}
