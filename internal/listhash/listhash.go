// Package listhash makes keys of lists of texts: the SHA-256 of all, each behind its length, so that no two lists have the
// same key.
package listhash

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Sum returns the key of the texts, 32 bytes.
func Sum(texts ...string) string {
	h := sha256.New()
	Write(h, texts...)
	return string(h.Sum(nil))
}

// Write adds texts to a key that is made in several steps.
func Write[T ~string | ~[]byte](h hash.Hash, texts ...T) {
	for _, text := range texts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
}
