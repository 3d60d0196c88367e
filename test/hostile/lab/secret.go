package lab

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// A Secret is a text that may be seen at some hosts and nowhere else.
type Secret struct {
	// Name is how leaks call it; the value is never shown.
	Name, Value string

	mu      sync.Mutex
	hosts   []string
	written []form
}

// secretLength makes two halves of 16 characters, each of which nobody writes by chance.
const secretLength = 32

// Plant makes a secret of random letters and digits, which may be seen at the hosts of these names.
func (l *Lab) Plant(name string, hosts ...string) *Secret {
	var value strings.Builder
	for value.Len() < secretLength {
		value.WriteString(rand.Text())
	}
	return l.Protect(name, value.String()[:secretLength], hosts...)
}

// Protect is Plant for a value that is there already: of 16 bytes at least, for what is shorter is found by chance. Of a
// text of several lines, such as a key in PEM, each long line is one.
func (l *Lab) Protect(name, value string, hosts ...string) *Secret {
	s := &Secret{Name: name, Value: value, hosts: hosts}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, s)
	return s
}

// Allow adds hosts at which the secret may be seen.
func (s *Secret) Allow(hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = append(s.hosts, hosts...)
}

func (s *Secret) mayBeAt(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.hosts, host)
}

// minPiece is the length of the shortest text that is searched for: 16 random letters and digits are 80 bits.
const minPiece = 16

// pieces are the parts of a secret of which each is a leak by itself: a message may be cut off anywhere.
func (s *Secret) pieces() []string {
	var pieces []string
	for line := range strings.SplitSeq(s.Value, "\n") {
		switch {
		case len(line) >= 2*minPiece:
			pieces = append(pieces, line[:len(line)/2], line[len(line)/2:])
		case len(line) >= minPiece:
			pieces = append(pieces, line)
		}
	}
	return pieces
}

// forms are those of all pieces. They are made once: a secret is searched for again and again.
func (s *Secret) forms() []form {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written == nil {
		for _, piece := range s.pieces() {
			s.written = append(s.written, forms(piece)...)
		}
	}
	return s.written
}

// A form is one way in which a text can be written.
type form struct {
	name string
	text []byte
}

// forms are the ways in which a piece of a secret is searched for. Base64 of it depends on what stands before it: there are
// three ways, and of each what does not depend on what stands around it.
func forms(piece string) []form {
	all := []form{
		{"as it is", []byte(piece)},
		{"URL-encoded", []byte(url.QueryEscape(piece))},
		{"path-encoded", []byte(url.PathEscape(piece))},
		{"hex", []byte(hex.EncodeToString([]byte(piece)))},
		{"upper-case hex", []byte(strings.ToUpper(hex.EncodeToString([]byte(piece))))},
		{"quoted", []byte(strings.Trim(fmt.Sprintf("%q", piece), `"`))},
	}
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := alphabet.EncodeToString(append(make([]byte, before), piece...))
			first := (before*8 + 5) / 6 // the characters that hold a bit of what stands before
			last := (before + len(piece)) * 8 / 6
			all = append(all, form{fmt.Sprintf("base64 at %d", before), []byte(text[first:last])})
		}
	}
	slices.SortStableFunc(all, func(a, b form) int { return bytes.Compare(a.text, b.text) })
	return slices.CompactFunc(all, func(a, b form) bool { return bytes.Equal(a.text, b.text) })
}

// A Leak is a secret that was seen where it may not be. It does not say the secret.
type Leak struct{ Secret, Place, Form string }

func (l Leak) String() string { return l.Secret + ", " + l.Form + ", in " + l.Place }

// A Search is what was searched and found.
type Search struct {
	Secrets, Places int
	// Pairs are secrets times places; Bytes is what the places hold together.
	Pairs int
	Bytes int64
	Leaks []Leak
}

// Leaks are the secrets that were seen where they may not be: see Search.
func (l *Lab) Leaks() []Leak { return l.Search().Leaks }

// Search looks for every secret, in every form, in every place where it may not be: what came to each host and canary, and
// what the program wrote to its log, to its pages and into its answers.
func (l *Lab) Search() Search { return l.search(l.places()) }

func (l *Lab) search(places []searched) Search {
	l.searching.Lock() // one at a time has the index
	defer l.searching.Unlock()
	index := l.index()
	found := Search{Secrets: index.secrets, Places: len(places), Pairs: index.secrets * len(places)}
	for _, p := range places {
		found.Bytes += int64(len(p.data))
		for _, hit := range index.find(p.data) {
			if p.host == "" || !hit.secret.mayBeAt(p.host) {
				found.Leaks = append(found.Leaks, Leak{hit.secret.Name, p.name, hit.form.name})
			}
		}
	}
	return found
}

// keyBytes are the first bytes of a form, by which it is found: there are tens of thousands of forms, and one way through a text
// is to find them all.
const keyBytes = 8

// An index holds all forms of all secrets by their first bytes.
type index struct {
	secrets int
	forms   map[[keyBytes]byte][]hit
}

// A hit is a form of a secret.
type hit struct {
	secret *Secret
	form   form
}

// index brings the index up to date with the secrets that are planted.
func (l *Lab) index() *index {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.indexed.forms == nil {
		l.indexed.forms = map[[keyBytes]byte][]hit{}
	}
	for _, s := range l.secrets[l.indexed.secrets:] {
		for _, f := range s.forms() {
			key := [keyBytes]byte(f.text)
			l.indexed.forms[key] = append(l.indexed.forms[key], hit{s, f})
		}
	}
	l.indexed.secrets = len(l.secrets)
	return &l.indexed
}

// find returns a hit of each secret that is in a text.
func (x *index) find(data []byte) (hits []hit) {
	seen := map[*Secret]bool{}
	for at := 0; at+keyBytes <= len(data); at++ {
		for _, h := range x.forms[[keyBytes]byte(data[at:at+keyBytes])] {
			if !seen[h.secret] && bytes.HasPrefix(data[at:], h.form.text) {
				seen[h.secret] = true
				hits = append(hits, h)
			}
		}
	}
	return hits
}

// A Watch searches what is new since it searched last, so that it can be asked after each of many scripts which one it was.
// It is for one caller.
type Watch struct {
	lab   *Lab
	known map[string]int // of each place, what was searched
	told  map[Leak]bool
}

// Watch begins with what there is.
func (l *Lab) Watch() *Watch { return &Watch{lab: l, known: map[string]int{}, told: map[Leak]bool{}} }

// maxFormBytes is the longest text that is searched for: what is new is searched with as much of what was before it.
const maxFormBytes = 1 << 10

// Leaks are the secrets that were seen in what is new; none is told twice of the same place. What a program writes after its
// answer may be told a call later.
func (w *Watch) Leaks() []Leak {
	var fresh []searched
	for _, p := range w.lab.places() {
		length := len(p.data)
		if known := w.known[p.name]; known < length && !p.replaced {
			p.data = p.data[max(0, known-maxFormBytes):]
		} else if known == length && !p.replaced {
			continue
		}
		w.known[p.name] = length
		fresh = append(fresh, p)
	}
	return slices.DeleteFunc(w.lab.search(fresh).Leaks, func(leak Leak) bool {
		told := w.told[leak]
		w.told[leak] = true
		return told
	})
}

// A searched is one place with what is in it; host is set where it is a host.
type searched struct {
	name, host string
	data       []byte
	replaced   bool // it is another text each time, and not what was there and more
}
