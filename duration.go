package ratify

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is written as Go writes durations: 30s, 10m.
type Duration time.Duration

// UnmarshalJSON takes a string such as 30s; a bare number is refused, for its unit would be a guess. Null is absence.
func (d *Duration) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("expected a duration such as 30s, got %s", Truncate(string(data)))
	}
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return fmt.Errorf("expected a positive duration such as 30s or 24h, got %s", Quote(s))
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes it as it is read.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }
