package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/ratify-provider/ratify"
)

// What the protocol calls itself. Gatekeeper's own types bring along the engine of its policies, 7 MB of program of which
// 4 MB stay in memory; the tests compare each answer with them.
const (
	apiVersion   = "externaldata.gatekeeper.sh/v1beta1"
	requestKind  = "ProviderRequest"
	responseKind = "ProviderResponse"
)

const (
	// maxBodyBytes is 64 keys of 1 KiB, four times over for escapes and what a newer Gatekeeper may add.
	maxBodyBytes = 256 << 10
	// maxKeys is more images than a pod has in practice; our template asks for no more either.
	maxKeys = 64
	// maxDepth bounds nesting in fields that we do not know: the protocol itself needs 3.
	maxDepth = 16
	// maxSystemErrorBytes bounds a systemError: it ends in an admission denial that a person reads.
	maxSystemErrorBytes = 4 << 10
	// maxReasonBytes bounds what is said of one image: its name, and a message and a remedy with an outside text each.
	maxReasonBytes = 1 << 10
	// maxReasonsBytes bounds each of the two lists of a systemError, refusals and unknowns, so that neither crowds out
	// the other, nor the end of the text.
	maxReasonsBytes = 3 * maxSystemErrorBytes / 8
)

// A badRequest is a request that breaks the protocol; its words go back to the caller.
type badRequest struct {
	status int
	reason string
}

func (e *badRequest) Error() string { return e.reason }

// decodeRequest reads a ProviderRequest. unknown is how many fields it has that are not known. The keys that are remembered
// need not be read; p may be nil.
func (p *parsedKeys) decodeRequest(body []byte) (keys []string, unknown int, err error) {
	if keys, ok := p.usualRequest(body); ok {
		return keys, 0, nil
	}
	return anyRequest(body)
}

// The parts of a request as Gatekeeper's own client writes it, with one key at least.
const (
	usualHead = `{"apiVersion":"` + apiVersion + `","kind":"` + requestKind + `","request":{"keys":["`
	usualNext = `","`
	usualTail = `"]}}`
)

// usualRequest reads a request that is spelled in the usual way and whose keys are plain, which leaves nothing to decode.
// What is not, is not therefore wrong.
func (p *parsedKeys) usualRequest(body []byte) (keys []string, ok bool) {
	text, ok := bytes.CutPrefix(body, []byte(usualHead))
	if !ok {
		return nil, false
	}
	if text, ok = bytes.CutSuffix(text, []byte(usualTail)); !ok {
		return nil, false
	}
	n := bytes.Count(text, []byte(usualNext)) + 1
	if n > maxKeys {
		return nil, false
	}
	keys = make([]string, 0, n)
	for last := false; !last; {
		var key []byte
		key, text, ok = bytes.Cut(text, []byte(usualNext))
		last = !ok
		switch k := p.find(key); {
		case k != nil && k.plain:
			keys = append(keys, k.key)
		case isPlain(key):
			keys = append(keys, string(key)) // each for itself: one that is kept must not keep the others
		default:
			return nil, false
		}
	}
	return keys, true
}

// isPlain tells whether a text is the same in JSON, as encoding/json writes it, but for the quotes.
func isPlain[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// anyRequest reads a request strictly where two readers could see two things: trailing data, repeated fields
// (also when they differ by case alone, for encoding/json matches those), null or non-string keys, and invalid UTF-8 are
// refused. Fields that are not known are counted and ignored: a newer Gatekeeper may add one.
func anyRequest(body []byte) (keys []string, unknown int, err error) {
	if !utf8.Valid(body) {
		return nil, 0, errors.New("the request is not valid UTF-8")
	}
	r := requestReader{d: json.NewDecoder(bytes.NewReader(body))}
	r.d.UseNumber()
	var version, kind string
	err = r.object(1, map[string]func() error{
		"apiVersion": func() error { return r.text(&version) },
		"kind":       func() error { return r.text(&kind) },
		"request": func() error {
			return r.object(2, map[string]func() error{"keys": func() error { return r.texts(&keys) }})
		},
	})
	if err == nil {
		if _, err = r.d.Token(); !errors.Is(err, io.EOF) {
			return nil, 0, errors.New("the request has data after its end")
		}
		err = nil
	}
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("the request is malformed: %s", ratify.Truncate(err.Error()))
	case version != apiVersion:
		return nil, 0, fmt.Errorf("apiVersion is %s, expected %q", ratify.Quote(version), apiVersion)
	case kind != requestKind:
		return nil, 0, fmt.Errorf("kind is %s, expected %q", ratify.Quote(kind), requestKind)
	case len(keys) > maxKeys:
		return nil, 0, fmt.Errorf("the request has %d keys, more than %d", len(keys), maxKeys)
	}
	return keys, r.unknown, nil
}

type requestReader struct {
	d       *json.Decoder
	unknown int
}

// object reads an object; each field that is not known is skipped and counted.
func (r *requestReader) object(depth int, fields map[string]func() error) error {
	if err := r.delimiter('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.d.More() {
		token, err := r.d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		folded := foldName(name)
		if seen[folded] {
			return fmt.Errorf("field %s is there twice", ratify.Quote(name))
		}
		seen[folded] = true
		read, known := fields[name]
		if !known {
			for field := range fields {
				if foldName(field) == folded {
					return fmt.Errorf("field %s is spelled %q", ratify.Quote(name), field)
				}
			}
			r.unknown++
			read = func() error { return r.skip(depth + 1) }
		}
		if err := read(); err != nil {
			return err
		}
	}
	return r.delimiter('}')
}

// foldName gives one spelling to all names that encoding/json takes for one: it knows a Kelvin sign for a k, and a long s.
func foldName(name string) string { return strings.ToLower(strings.ToUpper(name)) }

func (r *requestReader) delimiter(want json.Delim) error {
	token, err := r.d.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("expected %q, got %s", want, ratify.Quote(fmt.Sprint(token)))
	}
	return nil
}

func (r *requestReader) text(into *string) error {
	token, err := r.d.Token()
	if err != nil {
		return err
	}
	s, ok := token.(string)
	if !ok {
		return fmt.Errorf("expected a string, got %s", ratify.Quote(fmt.Sprint(token)))
	}
	*into = s
	return nil
}

func (r *requestReader) texts(into *[]string) error {
	if err := r.delimiter('['); err != nil {
		return err
	}
	for r.d.More() {
		var s string
		if err := r.text(&s); err != nil {
			return err
		}
		*into = append(*into, s)
	}
	return r.delimiter(']')
}

func (r *requestReader) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := r.d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		for r.d.More() {
			if err := r.skip(depth + 1); err != nil {
				return err
			}
		}
		return r.delimiter(']')
	case json.Delim('{'):
		for r.d.More() {
			if _, err := r.d.Token(); err != nil {
				return err
			}
			if err := r.skip(depth + 1); err != nil {
				return err
			}
		}
		return r.delimiter('}')
	}
	return nil
}

// fewKeys are compared one by one, which takes no memory.
const fewKeys = 16

// distinct keeps the first of equal keys.
func distinct(keys []string) []string {
	var seen map[string]bool
	if len(keys) > fewKeys {
		seen = make(map[string]bool, len(keys))
	}
	unique := keys[:0]
	for _, key := range keys {
		if seen[key] || seen == nil && slices.Contains(unique, key) {
			continue
		}
		if seen != nil {
			seen[key] = true
		}
		unique = append(unique, key)
	}
	return unique
}

// The parts of a response, as encoding/json writes them. Idempotent is what mutation asks for, and true for both.
const (
	responseHead = `{"apiVersion":"` + apiVersion + `","kind":"` + responseKind + `","response":{"idempotent":true`
	responseTail = `}}`
	// itemBytes is what an item has beside its key and value.
	itemBytes = len(`{"key":"","value":,"error":""},`)
)

// writeItems writes a response with an item for each answer, byte for byte as encoding/json would write it, but without
// going through the reports again: they are JSON already.
func writeItems(b *bytes.Buffer, answers []answer) {
	size := len(responseHead) + len(`,"items":[]`) + len(responseTail)
	for i := range answers {
		size += itemBytes + answers[i].bytes()
	}
	b.Grow(size)
	b.WriteString(responseHead)
	for i := range answers {
		separator := byte(',')
		if i == 0 {
			b.WriteString(`,"items":`)
			separator = '['
		}
		b.WriteByte(separator)
		answers[i].writeItem(b)
	}
	if len(answers) > 0 {
		b.WriteByte(']')
	}
	b.WriteString(responseTail)
}

// bytes is about how long the item's key, value and error are.
func (a *answer) bytes() int {
	if a.verdict != nil {
		return 2*len(a.key) + len(a.verdict.encoded)
	}
	return len(a.key) + len(a.pinned) + len(a.refusal)
}

// writeItem writes the answer as an item. What is empty is left out.
func (a *answer) writeItem(b *bytes.Buffer) {
	b.WriteByte('{')
	first := b.Len()
	field := func(name string) {
		if b.Len() > first {
			b.WriteByte(',')
		}
		b.WriteString(name)
	}
	if a.key != "" {
		field(`"key":`)
		writeQuoted(b, a.key, a.plain)
	}
	switch {
	case a.verdict != nil:
		field(`"value":`)
		b.WriteString(keyPrefix)
		writeQuoted(b, a.key, a.plain)
		b.Write(afterKey(a.verdict.encoded))
	case a.pinned != "":
		field(`"value":`)
		writeQuoted(b, a.pinned, false)
	}
	if a.refusal != "" {
		field(`"error":`)
		writeQuoted(b, a.refusal, false)
	}
	b.WriteByte('}')
}

// writeQuoted writes a text as encoding/json does. plain spares the look whether it is.
func writeQuoted(b *bytes.Buffer, text string, plain bool) {
	if !plain && !isPlain(text) {
		quoted, _ := json.Marshal(text) // a string always has a JSON form
		b.Write(quoted)
		return
	}
	b.WriteByte('"')
	b.WriteString(text)
	b.WriteByte('"')
}

// maxKeptBytes bounds the buffers that are kept for the next request: one for ten reports of ordinary length, or for the
// longest request. There are as many as have been needed at the same time, until the second collection after it.
const maxKeptBytes = 256 << 10

// buffers are kept for the next request.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *bytes.Buffer {
	if buffer, ok := b.pool.Get().(*bytes.Buffer); ok {
		return buffer
	}
	return &bytes.Buffer{}
}

func (b *buffers) put(buffer *bytes.Buffer) {
	if buffer.Cap() > maxKeptBytes {
		return
	}
	buffer.Reset()
	b.pool.Put(buffer)
}

// systemError is a response without any item: Gatekeeper keeps items for minutes, those that come with a
// systemError too, and would admit from its cache what it has just denied.
func systemError(text string) []byte {
	text = cut(text, maxSystemErrorBytes)
	if text == "" {
		text = string(ratify.Internal) // an empty systemError would be none
	}
	quoted, _ := json.Marshal(text) // a string always has a JSON form
	return slices.Concat([]byte(responseHead+`,"systemError":`), quoted, []byte(responseTail))
}

// cut shortens a text to a number of bytes.
func cut(text string, bound int) string {
	if len(text) <= bound {
		return text
	}
	return strings.ToValidUTF8(text[:bound-len("…")], "") + "…"
}

// shown is a key for people: as it was spelled, unless it has characters that a terminal or a log may obey.
func shown(key string) string {
	if isPlain(key) && len(key) <= ratify.MaxTextBytes {
		return key
	}
	if quoted := ratify.Quote(key); quoted != `"`+key+`"` {
		return quoted
	}
	return key
}

// enumerate lists what is to be said of some images, as far as there is room.
func enumerate(reasons []string) string {
	var text strings.Builder
	for i, reason := range reasons {
		reason = cut(reason, maxReasonBytes)
		if i > 0 && text.Len()+len(reason) > maxReasonsBytes {
			return fmt.Sprintf("%s; and %d more", &text, len(reasons)-i)
		}
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(reason)
	}
	return text.String()
}
