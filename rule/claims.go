package rule

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/ratify-provider/ratify"
)

// Bounds on the claims of one image. Verifiers keep theirs far below: reports carry them.
const (
	// maxDepth bounds claims within claims: a document that a verifier shows in full has below ten levels. Comparing two
	// claims takes stack for each level.
	maxDepth = 32
	// maxValues bounds how many there are: 20 pieces of evidence with 1,000 each, and they are walked in 1 ms.
	maxValues = 20_000
)

// image and evidence are what an expression sees; their names are shown in error messages.
type image struct {
	Repository string `cel:"repository"`
	Host       string `cel:"host"`
	Digest     string `cel:"digest"`
	Namespace  string `cel:"namespace"`
	MediaType  string `cel:"mediaType"`
}

type evidence struct {
	Verifier     string `cel:"verifier"`
	Type         string `cel:"type"`
	ArtifactType string `cel:"artifactType"`
	Reference    string `cel:"reference"`
	Code         string `cel:"code"`
	Claims       any    `cel:"claims"` // an orderedMap
}

func newVariables(claims ratify.Claims) (map[string]any, error) {
	list := make([]evidence, len(claims.Evidence))
	c := converter{left: maxValues}
	for i, claim := range claims.Evidence {
		facts, err := c.convert(reflect.ValueOf(claim.Facts), 0)
		if err != nil {
			return nil, fmt.Errorf("the claims of verifier %s %w", ratify.Quote(claim.Verifier), err)
		}
		list[i] = evidence{Verifier: claim.Verifier, Type: claim.Type, ArtifactType: claim.ArtifactType, Reference: claim.Reference, Code: string(claim.Code), Claims: facts}
	}
	s := claims.Subject
	return map[string]any{
		"image":    image{Repository: s.Repository, Host: s.Host(), Digest: s.Digest.String(), Namespace: s.Namespace, MediaType: claims.MediaType},
		"evidence": list,
	}, nil
}

// A converter makes values of the language out of claims before anything is evaluated: halfway through, the language takes
// two values that it cannot convert for equal.
type converter struct{ left int }

func (c *converter) convert(v reflect.Value, depth int) (ref.Val, error) {
	if c.left--; c.left < 0 {
		return nil, fmt.Errorf("are more than %d values", maxValues)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("are nested deeper than %d levels", maxDepth)
	}
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch {
	case !v.IsValid():
		return types.NullValue, nil
	case v.Kind() == reflect.String:
		return types.String(v.String()), nil
	case v.Kind() == reflect.Bool:
		return types.Bool(v.Bool()), nil
	case v.CanInt():
		return types.Int(v.Int()), nil
	case v.CanUint():
		return types.Uint(v.Uint()), nil
	case v.CanFloat():
		return types.Double(v.Float()), nil
	case v.Kind() == reflect.Slice:
		return c.convertList(v, depth)
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		return c.convertMap(v, depth)
	default:
		return nil, fmt.Errorf("have a value of the Go type %s, which no rule can read", v.Type())
	}
}

func (c *converter) convertList(v reflect.Value, depth int) (ref.Val, error) {
	if v.Len() > c.left {
		return nil, fmt.Errorf("are more than %d values", maxValues)
	}
	elements := make([]ref.Val, v.Len())
	for i := range elements {
		var err error
		if elements[i], err = c.convert(v.Index(i), depth+1); err != nil {
			return nil, err
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, elements), nil
}

func (c *converter) convertMap(v reflect.Value, depth int) (ref.Val, error) {
	if v.Len() > c.left {
		return nil, fmt.Errorf("are more than %d values", maxValues)
	}
	entries := make(map[string]ref.Val, v.Len())
	for pairs := v.MapRange(); pairs.Next(); {
		value, err := c.convert(pairs.Value(), depth+1)
		if err != nil {
			return nil, err
		}
		entries[pairs.Key().String()] = value
	}
	return orderedMap{types.NewMap(types.DefaultTypeAdapter, entries), slices.Sorted(maps.Keys(entries))}, nil
}

// An orderedMap is walked in the order of its keys: what a rule says of the same claims is the same each time.
type orderedMap struct {
	traits.Mapper
	keys []string
}

// Iterator implements traits.Iterable.
func (m orderedMap) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, m.keys).Iterator()
}

// AggregateSize implements types.AggregateSizeVisitor: the map beneath remembers its size, as loops over claims ask for it
// again and again.
func (m orderedMap) AggregateSize(sizer types.AggregateSizer) uint32 {
	return sizer.AggregateSize(m.Mapper)
}
