package listhash

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

func TestNoTwoListsAreAlike(t *testing.T) {
	seen := map[string][]string{}
	for _, texts := range [][]string{nil, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a", "b", ""}, {"\x00"},
		{"ab", "c"}, {"a", "bc"}, {"abc"}, {"ab\x01c"}, {"a", "b", "c"}, {strings.Repeat("a", 200)}, {strings.Repeat("a", 199), "a"},
	} {
		key := Sum(texts...)
		if other, ok := seen[key]; ok || len(key) != sha256.Size {
			t.Errorf("%q and %q have the same key, or one of %d bytes", texts, other, len(key))
		}
		seen[key] = texts
	}
}

func TestWriteIsSumInSteps(t *testing.T) {
	h := sha256.New()
	Write(h, "a", "")
	Write(h, []byte("bc"))
	if got, want := fmt.Sprintf("%x", h.Sum(nil)), fmt.Sprintf("%x", Sum("a", "", "bc")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
