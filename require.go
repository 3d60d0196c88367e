package ratify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Require is what must pass: a number of a policy's verifiers, or a tree of verifiers. The zero value is all of them.
type Require struct {
	// AtLeast is how many must pass; 0 is all.
	AtLeast int
	// Of are those of which that many must pass. At the top it may be empty: then it is the policy's Verifiers.
	Of []Require
	// Verifier is the name of a verifier, at a leaf; then the others are empty.
	Verifier string
}

// RequireAll and RequireAny are written all and any.
var (
	RequireAll = Require{}
	RequireAny = Require{AtLeast: 1}
)

// maxRequireDepth bounds a tree: what a person can follow has three levels.
const maxRequireDepth = 8

var errRequire = errors.New("expected all, any, a positive number, or a tree such as {all: [a, {any: [b, c]}]} or {atLeast: 2, of: [a, b, c]}")

// UnmarshalJSON takes all, any, a positive number, or a tree; null is absence.
func (r *Require) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	switch string(data) {
	case "null":
		return nil
	case `"all"`:
		*r = RequireAll
		return nil
	case `"any"`:
		*r = RequireAny
		return nil
	}
	if bytes.HasPrefix(data, []byte("{")) {
		tree, err := decodeTree(data, 1)
		if err == nil {
			*r = tree
		}
		return err
	}
	var n int
	if err := json.Unmarshal(data, &n); err != nil || n < 1 {
		return fmt.Errorf("%w, got %s", errRequire, Truncate(string(data)))
	}
	*r = Require{AtLeast: n}
	return nil
}

// decodeTree decodes a node of a tree, strictly.
func decodeTree(data []byte, depth int) (Require, error) {
	var node struct {
		All     *[]json.RawMessage `json:"all"`
		Any     *[]json.RawMessage `json:"any"`
		AtLeast *int               `json:"atLeast"`
		Of      *[]json.RawMessage `json:"of"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&node); err != nil {
		return Require{}, fmt.Errorf("%w: %s", errRequire, Truncate(err.Error()))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Require{}, errRequire
	}
	r := Require{}
	var list *[]json.RawMessage
	switch {
	case depth > maxRequireDepth:
		return r, fmt.Errorf("the tree is deeper than %d levels", maxRequireDepth)
	case node.All != nil && node.Any == nil && node.AtLeast == nil && node.Of == nil:
		list = node.All
	case node.Any != nil && node.All == nil && node.AtLeast == nil && node.Of == nil:
		list, r.AtLeast = node.Any, 1
	case node.AtLeast != nil && node.Of != nil && node.All == nil && node.Any == nil:
		list, r.AtLeast = node.Of, *node.AtLeast
		if r.AtLeast < 1 || r.AtLeast > len(*list) {
			return r, fmt.Errorf("atLeast: %d of %d cannot be met", r.AtLeast, len(*list))
		}
	default:
		return r, fmt.Errorf("%w: a node has one of all, any, or atLeast with of", errRequire)
	}
	if len(*list) == 0 {
		return r, errors.New("a node of the tree names nothing, so nothing could ever pass")
	}
	for _, element := range *list {
		child, err := decodeElement(element, depth)
		if err != nil {
			return r, err
		}
		r.Of = append(r.Of, child)
	}
	return r, nil
}

func decodeElement(data []byte, depth int) (Require, error) {
	var name string
	if err := json.Unmarshal(data, &name); err == nil && name != "" {
		return Require{Verifier: name}, nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return decodeTree(data, depth+1)
	}
	return Require{}, fmt.Errorf("expected the name of a verifier or a node of the tree, got %s", Truncate(string(data)))
}

// MarshalJSON writes it as it is read.
func (r Require) MarshalJSON() ([]byte, error) {
	switch {
	case r.Verifier != "":
		return json.Marshal(r.Verifier)
	case len(r.Of) == 0 && r.AtLeast == 0:
		return []byte(`"all"`), nil
	case len(r.Of) == 0:
		return json.Marshal(r.AtLeast)
	case r.AtLeast == 0:
		return json.Marshal(map[string]any{"all": r.Of})
	case r.AtLeast == 1:
		return json.Marshal(map[string]any{"any": r.Of})
	default:
		return json.Marshal(map[string]any{"atLeast": r.AtLeast, "of": r.Of})
	}
}

// String is how a configuration writes it: all, any, 2, or a tree in one line.
func (r Require) String() string {
	switch {
	case r.Verifier != "":
		return r.Verifier
	case len(r.Of) == 0 && r.AtLeast == 0:
		return "all"
	case len(r.Of) == 0 && r.AtLeast == 1:
		return "any"
	case len(r.Of) == 0:
		return strconv.Itoa(r.AtLeast)
	}
	children := make([]string, len(r.Of))
	for i, child := range r.Of {
		children[i] = child.String()
	}
	list := "[" + strings.Join(children, ", ") + "]}"
	switch r.AtLeast {
	case 0:
		return "{all: " + list
	case 1:
		return "{any: " + list
	default:
		return fmt.Sprintf("{atLeast: %d, of: %s", r.AtLeast, list)
	}
}

// Names lists the verifiers of a tree, each once, in its order; of what is no tree, none.
func (r Require) Names() []string {
	if r.Verifier != "" {
		return []string{r.Verifier}
	}
	var names []string
	for _, child := range r.Of {
		for _, name := range child.Names() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// A condition is a Require whose verifiers are known by their place in a policy's list.
type condition struct {
	need     int // of the children; a leaf has none
	of       []condition
	verifier int
}

// conditionOver is some of a list of verifiers: at least so many of them, or all where that is 0.
func conditionOver(verifiers, atLeast int) condition {
	c := condition{need: atLeast}
	for i := range verifiers {
		c.of = append(c.of, condition{verifier: i})
	}
	if atLeast == 0 {
		c.need = verifiers
	}
	return c
}

// bind finds the verifiers of a tree in the list.
func (r Require) bind(verifiers []string) condition {
	if r.Verifier != "" {
		return condition{verifier: slices.Index(verifiers, r.Verifier)}
	}
	c := condition{need: r.AtLeast}
	if c.need == 0 {
		c.need = len(r.Of)
	}
	for _, child := range r.Of {
		c.of = append(c.of, child.bind(verifiers))
	}
	return c
}

// verdict is what is known of one verifier, or of a whole policy: a truth value with a third state. The zero value
// proves nothing.
type verdict int

const (
	unknown verdict = iota
	refused
	passed
)

// decide says whether the condition holds. What could not be read matters only where it could change the decision. A
// condition over nothing is refused: of nothing, nothing is proven.
func (c condition) decide(verdicts []verdict) verdict {
	if c.of == nil && c.need == 0 {
		if c.verifier < 0 || c.verifier >= len(verdicts) {
			return refused
		}
		return verdicts[c.verifier]
	}
	good, open := 0, 0
	for _, child := range c.of {
		switch child.decide(verdicts) {
		case passed:
			good++
		case refused:
		default:
			open++
		}
	}
	switch {
	case c.need > 0 && good >= c.need:
		return passed
	case c.need <= 0 || good+open < c.need:
		return refused
	default:
		return unknown
	}
}

// validity is until when a condition that holds does so, if each verifier that passed holds until its end: where all are
// needed, the earliest; where any is, the latest; where N are, the N-th latest. Zero has no end. holds is false where the
// condition does not hold at all.
func (c condition) validity(verdicts []verdict, ends []time.Time) (end time.Time, holds bool) {
	if c.of == nil && c.need == 0 {
		if c.decide(verdicts) != passed {
			return end, false
		}
		return ends[c.verifier], true
	}
	var good []time.Time
	for _, child := range c.of {
		if end, holds := child.validity(verdicts, ends); holds {
			good = append(good, end)
		}
	}
	if c.need <= 0 || len(good) < c.need {
		return end, false
	}
	slices.SortFunc(good, laterFirst)
	return good[c.need-1], true
}

// deciders are the verifiers that made the condition come out as it did, by their place, in the condition's order.
func (c condition) deciders(verdicts []verdict, outcome verdict) (list []int) {
	if c.decide(verdicts) != outcome {
		return nil
	}
	if c.of == nil && c.need == 0 {
		return []int{c.verifier}
	}
	for _, child := range c.of {
		for _, i := range child.deciders(verdicts, outcome) {
			if !slices.Contains(list, i) {
				list = append(list, i)
			}
		}
	}
	return list
}

// laterFirst orders instants from the latest to the earliest; zero, which has no end, is the latest.
func laterFirst(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	default:
		return b.Compare(a)
	}
}

// earlier returns the earlier of two ends; zero has no end.
func earlier(a, b time.Time) time.Time {
	if laterFirst(a, b) <= 0 {
		return b
	}
	return a
}
