package ratify_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify"
)

const (
	someDigest = "sha256:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730"
	longDigest = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

func TestParseKey(t *testing.T) {
	for _, tc := range []struct{ key, want, tag string }{
		{"nginx", "docker.io/library/nginx:latest", "latest"},
		{"library/nginx", "docker.io/library/nginx:latest", "latest"},
		{"docker.io/nginx", "docker.io/library/nginx:latest", "latest"},
		{"docker.io/library/nginx", "docker.io/library/nginx:latest", "latest"},
		{"index.docker.io/nginx", "docker.io/library/nginx:latest", "latest"},
		{"index.docker.io/library/nginx", "docker.io/library/nginx:latest", "latest"},
		{someDigest, "docker.io/library/" + someDigest, someDigest[len("sha256:"):]}, // a name and a tag to the runtime, too
		{"nginx:1.27", "docker.io/library/nginx:1.27", "1.27"},
		{"acme/app", "docker.io/acme/app:latest", "latest"},
		{"ghcr.io/acme/app:V1.2_x-y", "ghcr.io/acme/app:V1.2_x-y", "V1.2_x-y"},
		{"GHCR.IO/acme/app", "ghcr.io/acme/app:latest", "latest"},
		{"ghcr.io:443/acme/app", "ghcr.io/acme/app:latest", "latest"},
		{"GHCR.io:443/acme/app:1", "ghcr.io/acme/app:1", "1"},
		{"ghcr.io:8443/acme/app", "ghcr.io:8443/acme/app:latest", "latest"},
		{"localhost/app", "localhost/app:latest", "latest"},
		{"LOCALHOST/app", "localhost/app:latest", "latest"},
		{"localhost:5000/app", "localhost:5000/app:latest", "latest"},
		{"registry:5000/app", "registry:5000/app:latest", "latest"},
		{"registry:443/app", "registry:443/app:latest", "latest"},
		{"REGISTRY/app", "registry:443/app:latest", "latest"},
		{"ghcr.io/app@" + someDigest, "ghcr.io/app@" + someDigest, ""},
		{"ghcr.io/app:v1@" + someDigest, "ghcr.io/app@" + someDigest, "v1"},
		{"ghcr.io/app:sha256@" + someDigest, "ghcr.io/app@" + someDigest, "sha256"},
		{"ghcr.io/app@" + longDigest, "ghcr.io/app@" + longDigest, ""},
		{"127.0.0.1/app", "127.0.0.1/app:latest", "latest"},
		{"127.0.0.1:5000/app", "127.0.0.1:5000/app:latest", "latest"},
		{"[::1]:5000/app", "[::1]:5000/app:latest", "latest"},
		{"[::1]/app", "[::1]/app:latest", "latest"},
		{"[::1]:443/app", "[::1]/app:latest", "latest"},
		{"[0:0:0:0:0:0:0:1]/app", "[::1]/app:latest", "latest"},
		{"[FE80::1]/app", "[fe80::1]/app:latest", "latest"},
		{"[fe80::443]/app", "[fe80::443]/app:latest", "latest"},
		{"a.example/" + strings.Repeat("a", 255), "a.example/" + strings.Repeat("a", 255) + ":latest", "latest"},
		{"a.example/b:" + strings.Repeat("t", 128), "a.example/b:" + strings.Repeat("t", 128), strings.Repeat("t", 128)},
		{"xn--bcher-kva.example/app", "xn--bcher-kva.example/app:latest", "latest"},
	} {
		t.Run(tc.key, func(t *testing.T) {
			s, err := ratify.ParseKey(tc.key)
			if err != nil {
				t.Fatal(err)
			}
			if s.String() != tc.want || s.Tag != tc.tag || s.Namespace != "" {
				t.Errorf("%+v, %s, want %s and the tag %q", s, s, tc.want, tc.tag)
			}
			again, err := ratify.ParseKey(s.String())
			if err != nil || again.String() != s.String() || again.Repository != s.Repository {
				t.Errorf("%s parses to %s: %v", s, again, err)
			}
		})
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for name, key := range map[string]string{
		"empty":                                "",
		"host alone":                           "ghcr.io/",
		"empty host":                           "/app",
		"empty host with a port":               ":5000/app",
		"port without a number":                "ghcr.io:/app",
		"port with a leading zero":             "ghcr.io:0443/app",
		"port zero":                            "ghcr.io:0/app",
		"port too long":                        "ghcr.io:443443/app",
		"port too large":                       "ghcr.io:65536/app",
		"port in letters":                      "ghcr.io:https/app",
		"two ports":                            "ghcr.io:443:443/app",
		"trailing dot":                         "ghcr.io./app",
		"trailing dot and port":                "ghcr.io.:443/app",
		"leading dot":                          ".ghcr.io/app",
		"two dots":                             "ghcr..io/app",
		"label that ends in a hyphen":          "ghcr-.io/app",
		"upper-case path":                      "ghcr.io/Acme/app",
		"upper-case familiar name":             "Nginx",
		"another spelling of Docker Hub":       "INDEX.docker.io/library/nginx",
		"Docker Hub's old name with a port":    "index.docker.io:443/library/nginx",
		"host longer than a name":              strings.Repeat("N", 254) + "/app",
		"long host that would get a port":      strings.Repeat("N", 1020) + "/00",
		"Docker Hub in other letters":          "Docker.io/library/nginx",
		"Docker Hub behind a port":             "docker.io:443/library/nginx",
		"familiar name on a spelled host":      "Docker.io/nginx",
		"familiar name behind a port":          "docker.io:443/nginx",
		"dots":                                 "ghcr.io/../app",
		"dot":                                  "ghcr.io/./app",
		"dots within":                          "ghcr.io/a..b",
		"dots at the end":                      "ghcr.io/app/..",
		"two slashes":                          "ghcr.io//app",
		"slash at the end":                     "ghcr.io/app/",
		"escaped slash":                        "ghcr.io/acme%2fapp",
		"escaped NUL":                          "ghcr.io/app%00",
		"backslash":                            `ghcr.io\app`,
		"scheme":                               "https://ghcr.io/app",
		"userinfo":                             "user:secret@ghcr.io/app",
		"user":                                 "user@ghcr.io/app",
		"query":                                "ghcr.io/app?x=1",
		"fragment":                             "ghcr.io/app#x",
		"NUL":                                  "ghcr.io/app\x00",
		"CR LF":                                "ghcr.io/app\r\nHost: evil",
		"newline at the end":                   "ghcr.io/app:v1\n",
		"newline behind a digest":              "ghcr.io/app@" + someDigest + "\n",
		"tab":                                  "ghcr.io/\tapp",
		"space before":                         " ghcr.io/app",
		"space behind":                         "ghcr.io/app ",
		"space within":                         "ghcr.io/a pp",
		"DEL":                                  "ghcr.io/app\x7f",
		"no-break space":                       "ghcr.io/app\u00a0",
		"zero width space":                     "ghcr.io/\u200bapp",
		"byte order mark":                      "\ufeffghcr.io/app",
		"right-to-left override":               "ghcr.io/\u202eppa",
		"cyrillic look-alike in the host":      "ghсr.io/app",
		"cyrillic look-alike in the path":      "ghcr.io/аpp",
		"full-width letter":                    "ghcr.io/ａpp",
		"full-width stop":                      "ghcr．io/app",
		"full-width slash":                     "ghcr.io／app",
		"Kelvin sign, lower case is k":         "ghcr.io/\u212a",
		"dotted capital I":                     "ghcr.\u0130o/app",
		"invalid UTF-8":                        "ghcr.io/\xff",
		"namespace prefix":                     "[tenant]nginx",
		"namespace prefix with a host":         "[tenant]ghcr.io/app",
		"empty namespace prefix":               "[]nginx",
		"namespace prefix that never ends":     "[nginx",
		"namespace prefix with a colon":        "[a:b]nginx",
		"bracket alone":                        "[",
		"IPv6 without brackets":                "::1/app",
		"IPv6 malformed":                       "[::1::2]/app",
		"IPv6 of nothing":                      "[]/app",
		"IPv6 with a zone":                     "[fe80::1%eth0]/app",
		"IPv4 in IPv6":                         "[::ffff:127.0.0.1]/app",
		"IPv4 in IPv6, in hexadecimal":         "[::ffff:7f00:1]/app",
		"IPv4 of two parts":                    "127.1/app",
		"IPv4 of three parts":                  "127.0.1/app",
		"IPv4 of five parts":                   "127.0.0.1.1/app",
		"IPv4 octal":                           "0177.0.0.1/app",
		"IPv4 with leading zeros":              "127.000.000.001/app",
		"IPv4 hexadecimal":                     "0x7f.0.0.1/app",
		"IPv4 hexadecimal at the end":          "127.0.0.0x1/app",
		"IPv4 hexadecimal at the end, capital": "127.0.0.0X1/app",
		"IPv4 as a number":                     "2130706433:80/app",
		"IPv4 as an octal number":              "017700000001:80/app",
		"IPv4 as a hexadecimal number":         "0x7f000001:80/app",
		"IPv4 out of range":                    "127.0.0.256/app",
		"name that ends in a number":           "ghcr.io.1/app",
		"identifier":                           strings.Repeat("a", 64),
		"tag with a plus":                      "ghcr.io/app:v1+2",
		"empty tag":                            "ghcr.io/app:",
		"two tags":                             "ghcr.io/app:a:b",
		"tag too long":                         "ghcr.io/app:" + strings.Repeat("t", 129),
		"name too long":                        "ghcr.io/" + strings.Repeat("a", 256),
		"key too long":                         strings.Repeat("a", 1000) + ".example/" + strings.Repeat("b", 20),
		"empty digest":                         "ghcr.io/app@",
		"digest too short":                     "ghcr.io/app@sha256:" + strings.Repeat("a", 63),
		"digest too long":                      "ghcr.io/app@sha256:" + strings.Repeat("a", 65),
		"digest in capitals":                   "ghcr.io/app@" + strings.ToUpper(someDigest),
		"digest with capital hexadecimals":     "ghcr.io/app@sha256:" + strings.Repeat("A", 64),
		"digest of MD5":                        "ghcr.io/app@md5:" + strings.Repeat("a", 32),
		"two digests":                          "ghcr.io/app@" + someDigest + "@" + someDigest,
		"digest, then tag":                     "ghcr.io/app@" + someDigest + ":v1",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ratify.ParseKey(key)
			if err == nil {
				t.Fatalf("%q is taken for %s", key, s)
			}
			if s != (ratify.Subject{}) {
				t.Errorf("refused, yet %+v", s)
			}
			checkBadReference(t, err)
		})
	}
}

func checkBadReference(t *testing.T, err error) {
	t.Helper()
	var e *ratify.Error
	if !errors.As(err, &e) || e.Code != ratify.BadReference || !e.Code.Definitive() {
		t.Fatalf("error %v, want BAD_REFERENCE", err)
	}
	message := e.UserMessage()
	if len(message) > 6*ratify.MaxTextBytes {
		t.Errorf("the message has %d bytes", len(message))
	}
	for _, r := range message {
		if r != '…' && (r < ' ' || r > '~') {
			t.Errorf("the message %q has the character %q", message, r)
		}
	}
}

func TestParseKeyAtTheBound(t *testing.T) {
	host := strings.Repeat("a.", 370) + "example/"
	key := host + strings.Repeat("b", ratify.MaxKeyBytes-len(host)-1)
	for len(key) < ratify.MaxKeyBytes {
		key += "b"
	}
	if len(key) != ratify.MaxKeyBytes {
		t.Fatalf("%d bytes", len(key))
	}
	_, errAt := ratify.ParseKey(key)
	_, errBeyond := ratify.ParseKey(key + "b")
	if errAt != nil && strings.Contains(errAt.Error(), "longer than") {
		t.Errorf("at the bound: %v", errAt)
	}
	if errBeyond == nil || !strings.Contains(errBeyond.Error(), "longer than 1024 bytes") {
		t.Errorf("beyond the bound: %v", errBeyond)
	}
}

// TestSpellingsAreOneSubject: what is one repository to the runtime must be one to policies and caches.
func TestSpellingsAreOneSubject(t *testing.T) {
	for _, spellings := range [][]string{
		{"nginx", "nginx:latest", "library/nginx", "docker.io/nginx", "docker.io/library/nginx", "docker.io/library/nginx:latest", "index.docker.io/nginx"},
		{"ghcr.io/a/b:1", "GHCR.IO/a/b:1", "ghcr.io:443/a/b:1", "Ghcr.Io:443/a/b:1"},
		{"[::1]:5000/app", "[0:0:0:0:0:0:0:1]:5000/app", "[0::1]:5000/app"},
	} {
		first := mustParse(t, spellings[0])
		for _, spelling := range spellings[1:] {
			if s := mustParse(t, spelling); s != first {
				t.Errorf("%q is %+v, %q is %+v", spelling, s, spellings[0], first)
			}
		}
	}
}

func TestSubject(t *testing.T) {
	s := mustParse(t, "ghcr.io:8443/acme/app:v1@"+someDigest)
	if s.Host() != "ghcr.io:8443" || s.Reference() != someDigest || s.Tag != "v1" {
		t.Errorf("%+v: host %q, reference %q", s, s.Host(), s.Reference())
	}
	tagged := mustParse(t, "ghcr.io/acme/app:v1")
	tagged.Namespace = "tenant"
	if tagged.Reference() != "v1" {
		t.Errorf("reference %q", tagged.Reference())
	}
	at := tagged.At(someDigest)
	if at != (ratify.Subject{Namespace: "tenant", Repository: "ghcr.io/acme/app", Digest: someDigest}) {
		t.Errorf("at the digest: %+v", at)
	}
	if tagged.Tag != "v1" {
		t.Error("At changed its receiver")
	}
	if bare := (ratify.Subject{Repository: "ghcr.io/acme/app"}); bare.String() != "ghcr.io/acme/app" {
		t.Errorf("%q", bare.String())
	}
}

// canonicalName is what two parsers may spell differently: the case of the host, its default port, and IPv6.
func canonicalName(named reference.Named) string {
	host := strings.TrimSuffix(strings.ToLower(reference.Domain(named)), ":443")
	if end := strings.IndexByte(host, ']'); end > 0 {
		if addr, err := netip.ParseAddr(host[1:end]); err == nil {
			host = "[" + addr.String() + "]" + host[end+1:]
		}
	}
	return host + "/" + reference.Path(named)
}

// FuzzParseKey holds ParseKey against the parser of the container runtime: whatever it accepts names the same thing.
func FuzzParseKey(f *testing.F) {
	for _, key := range []string{
		"nginx", "library/nginx:1.27", "docker.io/nginx", "Docker.io/nginx", "INDEX.docker.io/nginx", "ghcr.io:443/a/b@" + someDigest,
		"localhost:5000/a:b@" + someDigest, "a/b@" + longDigest, "[::1]:5000/a", "[0:0::1]/a", "127.0.0.1/a", "127.1/a", "0x7f.1/a", "REG/a", "reg:443/a",
		"[ns]image", ":5000/a", "a//b", "a/../b", "ghcr.io./a", "user@host.example/a", "a:b:c", "ghсr.io/app", "a\r\nb", strings.Repeat("a", 64), "[::ffff:7f00:1]/a",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		s, err := ratify.ParseKey(key)
		if err != nil {
			checkBadReference(t, err)
			return
		}
		named, err := reference.ParseDockerRef(key)
		if err != nil {
			t.Fatalf("%q is %s, which the runtime refuses: %v", key, s, err)
		}
		ours, err := reference.ParseDockerRef(s.String())
		if err != nil {
			t.Fatalf("%q is %s, which is no reference: %v", key, s, err)
		}
		if got, want := canonicalName(ours), canonicalName(named); got != want {
			t.Fatalf("%q names %s, to the runtime %s", key, got, want)
		}
		checkDecider(t, key, s, named)
		again, err := ratify.ParseKey(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is %s, which is %s: %v", key, s, again, err)
		}
	})
}

// checkDecider: tag or digest, whichever decides, is the runtime's.
func checkDecider(t *testing.T, key string, s ratify.Subject, named reference.Named) {
	t.Helper()
	var tag string
	var d digest.Digest
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		d = digested.Digest()
	}
	if s.Digest != d || d == "" && s.Tag != tag {
		t.Fatalf("%q has the tag %q and the digest %q, to the runtime %q and %q", key, s.Tag, s.Digest, tag, d)
	}
}
