package ratify

import (
	// go-digest knows the algorithms that happen to be linked: what a reference may be must not depend on who imports us.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"net/netip"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// A Subject is the artifact asked about. It is comparable. With Tag cleared and Digest set it is the key of a verdict.
type Subject struct {
	// Namespace is the tenant; empty where tenancy is off.
	Namespace string
	// Repository is the canonical name: host/path, the host in lower case and without the default port, except for a
	// host of one label such as registry:443, which without a port would be a path on docker.io.
	Repository string
	// Tag is the tag as spelled, or latest where neither tag nor digest was. In tag@digest the digest alone decides.
	Tag string
	// Digest is the digest as spelled, if it was.
	Digest digest.Digest
}

// defaultPort is cut off a host: registry.example:443 is registry.example, and must fall under the same scope.
const defaultPort = ":443"

// dockerHub is the host that the runtime reaches under another name, but only where it is spelled like this.
const dockerHub = "docker.io"

// ParseKey parses an image reference the way the container runtime does (short names are completed with
// docker.io/library and latest), and makes its host canonical. It is the only parser of references in the program.
// Errors are *Error with the code BAD_REFERENCE.
func ParseKey(key string) (Subject, error) {
	if len(key) > MaxKeyBytes {
		return Subject{}, badReference(key, "longer than 1024 bytes")
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] >= 0x7f {
			return Subject{}, badReference(key, "has a character that is not printable ASCII")
		}
	}
	if strings.HasPrefix(key, "[") && !strings.HasPrefix(key, "[:") && !strings.Contains(strings.SplitN(key, "]", 2)[0], ":") {
		return Subject{}, badReference(key, "has a namespace prefix, which stands for a tenant only where tenancy is on, and never in a mutation")
	}
	named, err := reference.ParseDockerRef(key)
	if err != nil {
		return Subject{}, badReference(key, err.Error())
	}
	host, err := canonicalHost(reference.Domain(named))
	if err != nil {
		return Subject{}, badReference(key, err.Error())
	}
	s := Subject{Repository: host + "/" + reference.Path(named)}
	// INDEX.docker.io/library/nginx and docker.io:443/nginx are other repositories to the runtime than what their
	// canonical host makes of them: verified would be one, run the other, and a policy for docker.io/* passed by.
	unusual := host == dockerHub && reference.Domain(named) != dockerHub
	if canonical, err := reference.ParseNormalizedNamed(s.Repository); unusual || err != nil || canonical.Name() != s.Repository {
		return Subject{}, badReference(key, "its host is an unusual spelling of another registry, write docker.io")
	}
	if tagged, ok := named.(reference.Tagged); ok {
		s.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		s.Digest = digested.Digest()
		// ParseDockerRef drops the tag beside a digest; the spelled one is kept for whoever shows the reference.
		if spelled, err := reference.ParseNormalizedNamed(key); err == nil {
			if tagged, ok := spelled.(reference.Tagged); ok {
				s.Tag = tagged.Tag()
			}
		}
	}
	return s, nil
}

// Host is the registry's host, with its port if it is not the default one.
func (s Subject) Host() string {
	host, _, _ := strings.Cut(s.Repository, "/")
	return host
}

// Reference is the digest, or the tag where there is no digest: what a repository resolves.
func (s Subject) Reference() string {
	if s.Digest != "" {
		return s.Digest.String()
	}
	return s.Tag
}

// String is the canonical reference: repository@digest, or repository:tag where no digest is known.
func (s Subject) String() string {
	switch {
	case s.Digest != "":
		return s.Repository + "@" + s.Digest.String()
	case s.Tag != "":
		return s.Repository + ":" + s.Tag
	default:
		return s.Repository
	}
}

// At is the subject with the digest alone, the key of a verdict.
func (s Subject) At(d digest.Digest) Subject {
	s.Tag, s.Digest = "", d
	return s
}

// maxHostBytes is the longest name that DNS has (RFC 1035 §2.3.4, less the root's dot and length).
const maxHostBytes = 253

type hostError string

func (e hostError) Error() string { return string(e) }

// canonicalHost gives one spelling to each host, so that no spelling falls out of a scope, and refuses those that a
// resolver may take for an address although they do not look like one (127.1, 0x7f.1, 2130706433).
func canonicalHost(domain string) (string, error) {
	domain = strings.TrimSuffix(strings.ToLower(domain), defaultPort)
	name, port := domain, ""
	if i := strings.LastIndexByte(domain, ':'); i >= 0 && !strings.HasSuffix(domain, "]") {
		name, port = domain[:i], domain[i:]
	}
	if name == "" || port == ":" {
		return "", hostError("its host is empty")
	}
	if len(name) > maxHostBytes {
		return "", hostError("its host is longer than a name can be")
	}
	if port != "" {
		if n, err := strconv.ParseUint(port[1:], 10, 16); err != nil || n == 0 || port[1] == '0' {
			return "", hostError("its port is malformed")
		}
	}
	if v6, ok := strings.CutPrefix(name, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(v6, "]"))
		if err != nil || addr.Is4In6() || addr.Zone() != "" {
			return "", hostError("its host is no plain IPv6 address")
		}
		return "[" + addr.String() + "]" + port, nil
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last[0] >= '0' && last[0] <= '9' && (isNumber(last) || strings.HasPrefix(last, "0x")) {
		if _, err := netip.ParseAddr(name); err != nil {
			return "", hostError("its host is a malformed IP address")
		}
	}
	if port == "" && !strings.Contains(name, ".") && name != "localhost" {
		port = defaultPort
	}
	return name + port, nil
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

func badReference(key, why string) *Error {
	return &Error{Code: BadReference, Message: "the image reference " + Quote(key) + " is malformed: " + Truncate(why)}
}
