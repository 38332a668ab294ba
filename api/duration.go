package api

import (
	"time"
)

// Duration is a time.Duration that reads and writes itself as text ("1m30s") in JSON.
type Duration time.Duration

// MarshalText gives Go's notation, "1m30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return FieldError("duration", string(b), "a number with a unit, such as 300ms, 10s or 5m")
	}
	*d = Duration(v)
	return nil
}

// Std gives the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String gives Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }
