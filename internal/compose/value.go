package compose

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// value is one value within x-ikada, with its place. Its methods read it as a type and note an error where it is not
// of that type. Interpolated values are strings, so that "8080" is a number too.
type value struct {
	field string
	raw   any
	errs  *[]error
}

func (v value) bad(expected string) {
	*v.errs = append(*v.errs, api.FieldError(v.field, scalar(v.raw), expected))
}

func (v value) refuse(why string) {
	*v.errs = append(*v.errs, &api.Error{Kind: api.Invalid, Field: v.field, Value: scalar(v.raw), Message: why})
}

func (v value) index(i int, raw any) value {
	return value{fmt.Sprintf("%s[%d]", v.field, i), raw, v.errs}
}

// fields reads a mapping with keys among allowed; those of known are given too, but not named as allowed ones.
func (v value) fields(allowed, known []string) map[string]value {
	m, ok := v.raw.(map[string]any)
	if !ok {
		v.bad("a mapping of " + strings.Join(allowed, ", "))
		return nil
	}
	out := map[string]value{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		f := value{v.field + "." + key, m[key], v.errs}
		if !slices.Contains(allowed, key) && !slices.Contains(known, key) {
			f.refuse("unknown key; expected one of " + strings.Join(allowed, ", "))
			continue
		}
		out[key] = f
	}
	return out
}

// text reads a string, or a plain value as one.
func (v value) text() string {
	switch raw := v.raw.(type) {
	case string:
		if raw != "" {
			return raw
		}
	case int, int64, uint64, float64, bool:
		return fmt.Sprint(raw)
	}
	v.bad("text")
	return ""
}

// path reads an absolute URL path.
func (v value) path() string {
	s, ok := v.raw.(string)
	if !ok || !strings.HasPrefix(s, "/") || strings.ContainsAny(s, " \t\r\n#") {
		v.bad("a path that begins with '/'")
		return "/"
	}
	return s
}

func (v value) integer(least, most int64) int64 {
	n, ok := int64(0), false
	switch raw := v.raw.(type) {
	case int:
		n, ok = int64(raw), true
	case int64:
		n, ok = raw, true
	case uint64:
		n, ok = int64(raw), raw <= math.MaxInt64
	case string:
		parsed, err := strconv.ParseInt(raw, 10, 64)
		n, ok = parsed, err == nil
	}
	if !ok || n < least || n > most {
		v.bad(fmt.Sprintf("a number from %d to %d", least, most))
		return 0
	}
	return n
}

func (v value) port() uint16 { return uint16(v.integer(1, 65535)) }

func (v value) boolean() bool {
	switch raw := v.raw.(type) {
	case bool:
		return raw
	case string:
		if b, err := strconv.ParseBool(raw); err == nil {
			return b
		}
	}
	v.bad("true or false")
	return false
}

func (v value) duration() api.Duration {
	if s, ok := v.raw.(string); ok {
		if d, err := time.ParseDuration(s); err == nil && d >= 0 {
			return api.Duration(d)
		}
	}
	v.bad("a duration such as 500ms, 10s or 1m30s")
	return 0
}

// number gives a number, however it is written, and whether it is one.
func (v value) number() (f float64, ok bool) {
	switch raw := v.raw.(type) {
	case float64:
		return raw, true
	case int:
		return float64(raw), true
	case string:
		f, err := strconv.ParseFloat(raw, 64)
		return f, err == nil
	}
	return 0, false
}

func (v value) ratio() float64 {
	f, ok := v.number()
	if !ok || !(f >= 0 && f <= 1) {
		v.bad("a number from 0 to 1")
		return 0
	}
	return f
}

func (v value) oneOf(allowed ...string) string {
	s, ok := v.raw.(string)
	if !ok || !slices.Contains(allowed, s) {
		v.bad("one of " + strings.Join(allowed, ", "))
		return ""
	}
	return s
}
