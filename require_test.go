package ratify

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func leaf(name string) Require { return Require{Verifier: name} }

func TestRequireTree(t *testing.T) {
	deep := strings.Repeat(`{"any":[`, maxRequireDepth) + `"a"` + strings.Repeat(`]}`, maxRequireDepth)
	for _, tc := range []struct {
		in, text string
		want     Require
		names    []string
	}{
		{`{"all":["a"]}`, `{all: [a]}`, Require{Of: []Require{leaf("a")}}, []string{"a"}},
		{`{"any":["a","b"]}`, `{any: [a, b]}`, Require{AtLeast: 1, Of: []Require{leaf("a"), leaf("b")}}, []string{"a", "b"}},
		{`{"atLeast":2,"of":["a","b","c"]}`, `{atLeast: 2, of: [a, b, c]}`, Require{AtLeast: 2, Of: []Require{leaf("a"), leaf("b"), leaf("c")}}, []string{"a", "b", "c"}},
		{` { "all" : [ "a" , { "any" : [ "b" , "c" ] } ] } `, `{all: [a, {any: [b, c]}]}`,
			Require{Of: []Require{leaf("a"), {AtLeast: 1, Of: []Require{leaf("b"), leaf("c")}}}}, []string{"a", "b", "c"}},
		{`{"any":[{"all":["b","a"]},{"all":["a","c"]}]}`, `{any: [{all: [b, a]}, {all: [a, c]}]}`,
			Require{AtLeast: 1, Of: []Require{{Of: []Require{leaf("b"), leaf("a")}}, {Of: []Require{leaf("a"), leaf("c")}}}}, []string{"b", "a", "c"}},
		{`{"all":["all"]}`, `{all: [all]}`, Require{Of: []Require{leaf("all")}}, []string{"all"}},
	} {
		var r Require
		if err := json.Unmarshal([]byte(tc.in), &r); err != nil || !reflect.DeepEqual(r, tc.want) {
			t.Errorf("%s: %+v, want %+v (%v)", tc.in, r, tc.want, err)
		}
		if r.String() != tc.text || !slices.Equal(r.Names(), tc.names) {
			t.Errorf("%s: %s of %q, want %s of %q", tc.in, r, r.Names(), tc.text, tc.names)
		}
	}
	var r Require
	if err := json.Unmarshal([]byte(deep), &r); err != nil {
		t.Errorf("%d levels: %v", maxRequireDepth, err)
	}
	for in, want := range map[string]string{
		`{}`:                               "a node has one of all, any, or atLeast with of",
		`{"all":["a"],"any":["b"]}`:        "a node has one of all, any, or atLeast with of",
		`{"all":["a"],"atLeast":1}`:        "a node has one of all, any, or atLeast with of",
		`{"all":["a"],"of":["b"]}`:         "a node has one of all, any, or atLeast with of",
		`{"atLeast":1}`:                    "a node has one of all, any, or atLeast with of",
		`{"of":["a"]}`:                     "a node has one of all, any, or atLeast with of",
		`{"all":null}`:                     "a node has one of all, any, or atLeast with of",
		`{"all":[]}`:                       "names nothing",
		`{"any":[{"all":[]}]}`:             "names nothing",
		`{"atLeast":0,"of":["a"]}`:         "atLeast: 0 of 1 cannot be met",
		`{"atLeast":-1,"of":["a"]}`:        "atLeast: -1 of 1 cannot be met",
		`{"atLeast":3,"of":["a","b"]}`:     "atLeast: 3 of 2 cannot be met",
		`{"atLeast":1.5,"of":["a"]}`:       "expected all, any, a positive number, or a tree",
		`{"all":"a"}`:                      "expected all, any, a positive number, or a tree",
		`{"all":["a"],"every":["b"]}`:      "expected all, any, a positive number, or a tree",
		`{"all":[1]}`:                      "expected the name of a verifier or a node of the tree, got 1",
		`{"all":[""]}`:                     `expected the name of a verifier or a node of the tree, got ""`,
		`{"all":[null]}`:                   "expected the name of a verifier or a node of the tree, got null",
		`{"all":[["a"]]}`:                  `expected the name of a verifier or a node of the tree, got ["a"]`,
		`{"all":[{"any":["a"],"some":1}]}`: "expected all, any, a positive number, or a tree",
		`{"any":[` + deep + `]}`:           "deeper than 8 levels",
	} {
		r := Require{AtLeast: 7}
		if err := json.Unmarshal([]byte(in), &r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is taken for %v, error %v, want %q", in, r, err, want)
		}
	}
}

// randomTree has the leaves first, first+1 and so on, each once.
func randomTree(random *rand.Rand, leaves []string) Require {
	if len(leaves) == 1 && random.IntN(2) == 0 {
		return leaf(leaves[0])
	}
	var r Require
	for rest := leaves; len(rest) > 0; {
		n := 1 + random.IntN(len(rest))
		if n == len(leaves) && n > 1 {
			n--
		}
		if n == 1 {
			r.Of = append(r.Of, leaf(rest[0]))
		} else {
			r.Of = append(r.Of, randomTree(random, rest[:n]))
		}
		rest = rest[n:]
	}
	r.AtLeast = random.IntN(len(r.Of) + 1)
	return r
}

func randomTrees(random *rand.Rand, count int) (trees []Require) {
	names := []string{"0", "1", "2", "3", "4"}
	for range count {
		tree := randomTree(random, names[:1+random.IntN(len(names))])
		if tree.Verifier == "" {
			trees = append(trees, tree)
		}
	}
	return trees
}

// holdsFor says what a tree means where everything is known.
func (r Require) holdsFor(truth []bool) bool {
	if r.Verifier != "" {
		i, _ := strconv.Atoi(r.Verifier)
		return truth[i]
	}
	good := 0
	for _, child := range r.Of {
		if child.holdsFor(truth) {
			good++
		}
	}
	return good >= r.AtLeast && (r.AtLeast > 0 || good == len(r.Of))
}

// everyTruth calls do with all that verdicts may turn out to be.
func everyTruth(verdicts []verdict, do func([]bool)) {
	truth := make([]bool, len(verdicts))
	var walk func(int)
	walk = func(i int) {
		if i == len(verdicts) {
			do(truth)
			return
		}
		if verdicts[i] != refused {
			truth[i] = true
			walk(i + 1)
		}
		if verdicts[i] != passed {
			truth[i] = false
			walk(i + 1)
		}
	}
	walk(0)
}

// assignments calls do with all verdicts of so many verifiers.
func assignments(count int, do func([]verdict)) {
	verdicts := make([]verdict, count)
	var walk func(int)
	walk = func(i int) {
		if i == count {
			do(verdicts)
			return
		}
		for _, v := range []verdict{unknown, refused, passed} {
			verdicts[i] = v
			walk(i + 1)
		}
	}
	walk(0)
}

// TestTreeAgainstOracle: what comes out in each way that the unknown may turn out is decided, and nothing else.
func TestTreeAgainstOracle(t *testing.T) {
	trees := randomTrees(rand.New(rand.NewPCG(1, 2)), 300)
	asked := 0
	for _, tree := range trees {
		names := tree.Names()
		c := tree.bind(names)
		assignments(len(names), func(verdicts []verdict) {
			asked++
			worlds, holding := 0, 0
			everyTruth(verdicts, func(truth []bool) {
				worlds++
				if tree.holdsFor(truth) {
					holding++
				}
			})
			want := unknown
			switch holding {
			case worlds:
				want = passed
			case 0:
				want = refused
			}
			if got := c.decide(verdicts); got != want {
				t.Fatalf("%s of %v: %d, want %d", tree, verdicts, got, want)
			}
		})
	}
	if asked < 10_000 {
		t.Errorf("asked %d times only", asked)
	}
}

// TestDecidersDecide: those who are named came out as the tree did, and alone make it come out so.
func TestDecidersDecide(t *testing.T) {
	for _, tree := range randomTrees(rand.New(rand.NewPCG(5, 6)), 300) {
		names := tree.Names()
		c := tree.bind(names)
		assignments(len(names), func(verdicts []verdict) {
			outcome := c.decide(verdicts)
			if outcome == unknown {
				return
			}
			deciders := c.deciders(verdicts, outcome)
			others := refused
			if outcome == refused {
				others = passed
			}
			turned := slices.Repeat([]verdict{others}, len(verdicts))
			for _, i := range deciders {
				if verdicts[i] != outcome {
					t.Fatalf("%s of %v: %d decides, but came out as %d", tree, verdicts, i, verdicts[i])
				}
				turned[i] = outcome
			}
			if len(deciders) == 0 || c.decide(turned) != outcome {
				t.Fatalf("%s of %v comes out as %d, not by %v", tree, verdicts, outcome, deciders)
			}
		})
	}
}

// TestTreeValidityIsTheLastInstantThatDecides: one instant before the end the tree still holds, at the end it does not.
func TestTreeValidityIsTheLastInstantThatDecides(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, tree := range randomTrees(random, 500) {
		names := tree.Names()
		c := tree.bind(names)
		for range 20 {
			verdicts, ends := make([]verdict, len(names)), make([]time.Time, len(names))
			for i := range ends {
				verdicts[i] = verdict(random.IntN(3))
				if n := random.IntN(5); n > 0 {
					ends[i] = time.Unix(int64(n), 0)
				}
			}
			holdsAt := func(at time.Time) bool {
				truth := make([]bool, len(names))
				for i := range truth {
					truth[i] = verdicts[i] == passed && (ends[i].IsZero() || at.Before(ends[i]))
				}
				return tree.holdsFor(truth)
			}
			end, holds := c.validity(verdicts, ends)
			switch {
			case holds != (c.decide(verdicts) == passed):
				t.Fatalf("%s of %v: holds %t", tree, verdicts, holds)
			case holds && end.IsZero() && !holdsAt(time.Unix(1e9, 0)):
				t.Fatalf("%s of %v until %v has no end", tree, verdicts, ends)
			case holds && !end.IsZero() && (!holdsAt(end.Add(-1)) || holdsAt(end)):
				t.Fatalf("%s of %v until %v ends at %s", tree, verdicts, ends, end)
			}
		}
	}
}

func TestTreeIsWrittenAsItIsRead(t *testing.T) {
	for _, tree := range randomTrees(rand.New(rand.NewPCG(9, 10)), 200) {
		data, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		var again Require
		if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(again, tree) {
			t.Errorf("%s is read as %s (%v)", data, again, err)
		}
	}
}

// TestRepeatedVerifier: one verifier in two places of a tree is one verifier.
func TestRepeatedVerifier(t *testing.T) {
	var r Require
	if err := json.Unmarshal([]byte(`{"any":[{"all":["a","b"]},{"all":["a","c"]}]}`), &r); err != nil {
		t.Fatal(err)
	}
	c := r.bind(r.Names())
	for _, tc := range []struct {
		verdicts []verdict
		want     verdict
	}{
		{[]verdict{passed, refused, passed}, passed},
		{[]verdict{refused, unknown, unknown}, refused},
		{[]verdict{passed, refused, refused}, refused},
		{[]verdict{passed, unknown, refused}, unknown},
	} {
		if got := c.decide(tc.verdicts); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.verdicts, got, tc.want)
		}
	}
}

func TestTreeAtLoad(t *testing.T) {
	verifiers := []NamedVerifier{{Name: "a", Type: "fake", Verifier: nothing{}}, {Name: "b", Type: "fake", Verifier: nothing{}}}
	for _, tc := range []struct {
		name    string
		policy  Policy
		want    string
		asks    []string
		refused bool
	}{
		{"a tree", Policy{Require: Require{Of: []Require{leaf("a"), leaf("b")}}}, "", []string{"a", "b"}, false},
		{"a number", Policy{Verifiers: []string{"b", "a"}, Require: RequireAny}, "", []string{"b", "a"}, false},
		{"a tree beside a list", Policy{Verifiers: []string{"a"}, Require: Require{Of: []Require{leaf("a"), leaf("b")}}}, "verifiers: they have no effect beside a tree in require", nil, true},
		{"a verifier that is none", Policy{Require: Require{Of: []Require{leaf("a"), leaf("b"), leaf("c")}}}, `require: there is no verifier "c" (known: a, b)`, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.policy.Name, tc.policy.Scopes = "p", []string{"*"}
			_, err := NewEngine(Setup{Verifiers: verifiers, Policies: []Policy{tc.policy}})
			if (err != nil) != tc.refused || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if err == nil && !slices.Equal(tc.policy.Asks(), tc.asks) {
				t.Errorf("asks %q, want %q", tc.policy.Asks(), tc.asks)
			}
		})
	}
}

// TestPlacesAreShownAsTheyAre: a name is the operator's, and none of a format.
func TestPlacesAreShownAsTheyAre(t *testing.T) {
	_, err := NewEngine(Setup{Policies: []Policy{{Name: "100%d", Scopes: []string{"*"}, Verifiers: []string{"x"}}}})
	if want := `policies[0] "100%d": verifiers: there is no verifier "x" (known: )`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
