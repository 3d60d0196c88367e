package content

import (
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var (
	// ErrTooLarge says that something is longer than may be read of it.
	ErrTooLarge = errors.New("it is larger than allowed")
	// ErrOtherDigest says that something is not what was asked for: it has another digest.
	ErrOtherDigest = errors.New("it has another digest")
)

// Read reads what somebody else wrote, to its end. It is the one function that does so: nothing is kept of what is longer
// than limit bytes, which is ErrTooLarge, nor of what ends with an error, which is r's own. One byte beyond the limit is read
// to tell.
func Read(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, ErrTooLarge
	}
	return data, nil
}

// ReadDescribed reads what a descriptor leads to, one that CheckDescriptor lets pass, and checks it: nothing is returned but
// what has the descriptor's digest, size and, of a manifest, media type. The descriptor may be wrong as well as the one who
// sends, and the digest tells which: see Check. So it is hashed to its end, within the bound of its kind; what is longer than
// the descriptor says is not kept meanwhile, and unkept, if not nil, is told so. Errors are r's, ErrOtherDigest, and those of
// TooLarge and Check.
func ReadDescribed(r io.Reader, desc ocispec.Descriptor, unkept func()) ([]byte, error) {
	bound := Bound(desc)
	hash := desc.Digest.Algorithm().Hash()
	source := io.TeeReader(r, hash)
	data, err := Read(source, desc.Size)
	size := int64(len(data))
	if errors.Is(err, ErrTooLarge) {
		if unkept != nil {
			unkept()
		}
		size = desc.Size + 1 // the byte that told
		var rest int64
		rest, err = io.Copy(io.Discard, io.LimitReader(source, bound+1-size))
		size += rest
	}
	switch {
	case errors.Is(err, ErrTooLarge), err == nil && size > bound:
		return nil, TooLarge(desc)
	case err != nil:
		return nil, err
	case digest.NewDigest(desc.Digest.Algorithm(), hash) != desc.Digest:
		return nil, ErrOtherDigest
	}
	if err := Check(desc, data, size); err != nil {
		return nil, err
	}
	return data, nil
}

// Discard reads at most limit bytes of what nobody wants, so that what follows them can be used. That it could not be read
// changes nothing.
func Discard(r io.Reader, limit int64) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r, limit))
}
