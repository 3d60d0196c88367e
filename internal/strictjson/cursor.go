package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
)

// A Cursor goes once through a JSON text, from front to back, and makes nothing of it but what it is asked for: decoded
// whole, what tools write takes seven times its size, and the worst that fits in a document forty times.
//
// The text must be one that Check accepts: then passing over a value is counting brackets, and no name is there twice. On
// any other text a Cursor ends all the same, with some error or with a part of the text, and reads nothing beyond it.
//
// Errors are plain; Object and List put the place before those of what is read in them: "runs: [0]: results: expected a
// list, got null".
type Cursor struct {
	data []byte
	at   int
}

// A LimitError says of what a text has more than is read.
type LimitError string

// Error returns the message.
func (e LimitError) Error() string { return string(e) }

// NewCursor returns a cursor before the text's only value.
func NewCursor(data []byte) *Cursor { return &Cursor{data: data} }

// Ahead returns another cursor at the same place, to look at what follows without taking it.
func (c *Cursor) Ahead() *Cursor { return &Cursor{c.data, c.at} }

// Next returns the first byte of the value that follows, which tells its kind, or the bracket that ends the list or object;
// 0 at the end. It takes what stands before that, and nothing of it.
func (c *Cursor) Next() byte {
	for ; c.at < len(c.data); c.at++ {
		switch b := c.data[c.at]; b {
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return b
		}
	}
	return 0
}

// Raw takes any value and returns it as it is written, in the memory of the text.
func (c *Cursor) Raw() ([]byte, error) {
	first, start := c.Next(), c.at
	switch first {
	case '"':
		c.at = endOfString(c.data, c.at) + 1
	case '{', '[':
		c.passBrackets()
	default:
		for c.at < len(c.data) && strings.IndexByte(" \t\r\n,]}", c.data[c.at]) < 0 {
			c.at++
		}
	}
	if c.at == start || c.at > len(c.data) {
		c.at = len(c.data)
		return nil, errors.New("a value is missing or has no end")
	}
	return c.data[start:c.at], nil
}

// passBrackets passes over a list or an object; beyond the text if it has no end.
func (c *Cursor) passBrackets() {
	level := 0
	for ; c.at < len(c.data); c.at++ {
		switch c.data[c.at] {
		case '"':
			c.at = endOfString(c.data, c.at)
		case '{', '[':
			level++
		case '}', ']':
			if level--; level == 0 {
				c.at++
				return
			}
		}
	}
	c.at = len(c.data) + 1
}

// Null takes a null, if that is what follows.
func (c *Cursor) Null() bool {
	if c.Next() != 'n' {
		return false
	}
	_, err := c.Raw()
	return err == nil
}

// Optional reads with read, unless a null follows, which it takes.
func (c *Cursor) Optional(read func() error) error {
	if c.Null() {
		return nil
	}
	return read()
}

// Object reads an object. visit is called with each name that is known, and takes its value or leaves it; the others are
// passed over. Without any that are known, it is called with each name. A known name in other letters is refused: to
// encoding/json, with which many tools are made, it is the field, and to others it is not.
func (c *Cursor) Object(known []string, visit func(name string) error) error {
	if c.Next() != '{' {
		return c.Mismatch("an object")
	}
	for c.at++; c.Next() != '}'; {
		name, wanted, err := c.name(known)
		if err != nil {
			return err
		}
		c.Next()
		start := c.at
		if wanted {
			if err := visit(name); err != nil {
				return fmt.Errorf("%s: %w", strings.Trim(ratify.Quote(name), `"`), err)
			}
		}
		if c.at == start {
			if _, err := c.Raw(); err != nil {
				return err
			}
		}
	}
	c.at++
	return nil
}

// name takes the name of a field and tells whether it is wanted.
func (c *Cursor) name(known []string) (name string, wanted bool, err error) {
	quoted, err := c.quoted()
	if err != nil {
		return "", false, err
	}
	found := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(found, '\\') >= 0 {
		text, err := unquote(quoted)
		if err != nil {
			return "", false, err
		}
		found = []byte(text)
	}
	for _, name := range known {
		if string(found) == name {
			return name, true, nil
		}
	}
	for _, name := range known {
		if bytes.EqualFold(found, []byte(name)) {
			return "", false, fmt.Errorf("the name %s is a field's in other letters", ratify.Quote(string(found)))
		}
	}
	if known == nil {
		return string(found), true, nil
	}
	return "", false, nil
}

// List reads a list of at most limit elements; more are a LimitError. visit is called for each, and takes it or leaves it.
func (c *Cursor) List(limit int, visit func() error) error {
	if c.Next() != '[' {
		return c.Mismatch("a list")
	}
	c.at++
	for i := 0; c.Next() != ']'; i++ {
		if i == limit {
			return LimitError(fmt.Sprintf("it has more than %d elements", limit))
		}
		start := c.at
		if err := visit(); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
		if c.at == start {
			if _, err := c.Raw(); err != nil {
				return err
			}
		}
	}
	c.at++
	return nil
}

// Count looks ahead and counts the elements of the list that follows, up to a limit: what is kept of each is then kept in
// one piece of memory, where growing one takes several times that. What is no list has none.
func (c *Cursor) Count(limit int) (n int) {
	_ = c.Ahead().List(limit, func() error {
		n++
		return nil
	})
	return n
}

// Text takes a string and returns it in memory of its own.
func (c *Cursor) Text() (string, error) {
	quoted, err := c.quoted()
	if err != nil {
		return "", err
	}
	return unquote(quoted)
}

// quoted takes a string and returns it with its quotes.
func (c *Cursor) quoted() ([]byte, error) {
	if c.Next() != '"' {
		return nil, c.Mismatch("a string")
	}
	return c.Raw()
}

// unquote returns what a string says.
func unquote(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}

// TextInto takes a string, or a null as none, and puts it into the place.
func (c *Cursor) TextInto(place *string) (err error) {
	if c.Null() {
		return nil
	}
	*place, err = c.Text()
	return err
}

// TimeInto takes an instant (RFC 3339), or a null or an empty string as none, and puts it into the place, in UTC.
func (c *Cursor) TimeInto(place *time.Time) error {
	var text string
	if err := c.TextInto(&text); err != nil || text == "" {
		return err
	}
	instant, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("expected a time such as 2026-01-02T15:04:05Z, got %s", ratify.Quote(text))
	}
	*place = instant.UTC()
	return nil
}

// Mismatch is the error for a value that is not what was wanted: it says what stands there.
func (c *Cursor) Mismatch(wanted string) error {
	found := "a number"
	switch c.Next() {
	case '{':
		found = "an object"
	case '[':
		found = "a list"
	case '"':
		found = "a string"
	case 't', 'f':
		found = "a boolean"
	case 'n':
		found = "null"
	case 0:
		found = "nothing"
	}
	return fmt.Errorf("expected %s, got %s", wanted, found)
}
