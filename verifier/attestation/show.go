package attestation

import (
	"bytes"
	"encoding/json"

	"github.com/ratify-provider/ratify"
)

// Bounds on a predicate that is shown whole.
const (
	// maxShownBytes bounds it as JSON: provenance has 2 to 20 KiB, the results of a test some 50, and reports carry it.
	maxShownBytes = 64 << 10
	// maxShownValues bounds the values in it: the rule of a policy takes 20,000 of all 20 pieces of evidence.
	maxShownValues = 1000
	// maxShownDepth bounds its nesting: a rule takes 32 levels of claims.
	maxShownDepth = 20
)

// showPredicate decodes a predicate for the policy's rule: numbers are int64 where they are whole and fit, else float64,
// and text is truncated. It is not shown where it is larger than the bounds, or no object.
func showPredicate(data []byte) (map[string]any, bool) {
	if len(data) > maxShownBytes {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value map[string]any
	if err := d.Decode(&value); err != nil || value == nil {
		return nil, false
	}
	left := maxShownValues
	shown, ok := show(value, maxShownDepth, &left)
	predicate, _ := shown.(map[string]any)
	return predicate, ok
}

// show converts a value, unless it has more levels than depth or more values than are left.
func show(value any, depth int, left *int) (any, bool) {
	if *left--; *left < 0 || depth == 0 {
		return nil, false
	}
	switch value := value.(type) {
	case string:
		return ratify.Truncate(value), true
	case json.Number:
		if n, err := value.Int64(); err == nil {
			return n, true
		}
		f, err := value.Float64()
		return f, err == nil
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			shown, ok := show(element, depth-1, left)
			if !ok {
				return nil, false
			}
			list[i] = shown
		}
		return list, true
	case map[string]any:
		fields := make(map[string]any, len(value))
		for name, element := range value {
			shown, ok := show(element, depth-1, left)
			if !ok || len(name) > ratify.MaxTextBytes {
				return nil, false
			}
			fields[name] = shown
		}
		return fields, true
	}
	return value, true // a boolean, or null
}
