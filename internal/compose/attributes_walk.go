package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
)

// finding is what the table says of one attribute that the user wrote.
type finding struct {
	service string // whose attribute it is; "" for the app's own
	field   string
	verdict verdict
	why     string
	value   any
}

// err makes the error of a refused attribute.
func (f finding) err() error {
	return &api.Error{Kind: api.Invalid, Field: f.field, Value: scalar(f.value), Message: f.why}
}

// warning makes the sentence of a warned one.
func (f finding) warning() string { return f.field + " has no effect: " + f.why }

// judge walks a merged Compose model and gives every attribute that is not honoured, sorted by field. What the table
// does not know is refused: a new compose-go may know attributes that this package does not.
func judge(model map[string]any) []finding {
	w := attributeWalk{rules: attributeRules(), inner: map[string]bool{}}
	for pattern := range w.rules {
		for at := strings.LastIndexByte(pattern, '.'); at > 0; at = strings.LastIndexByte(pattern[:at], '.') {
			w.inner[pattern[:at]] = true
		}
	}
	w.mapping(model, "", "", "")
	slices.SortFunc(w.found, func(a, b finding) int { return strings.Compare(a.field, b.field) })
	return w.found
}

type attributeWalk struct {
	rules map[string]rule
	inner map[string]bool // patterns that have attributes below them
	found []finding
}

func (w *attributeWalk) mapping(m map[string]any, pattern, field, service string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at, path := join(pattern, key), join(field, key)
		if _, wild := w.rules[join(pattern, "*")]; wild {
			at = join(pattern, "*")
		} else if strings.HasPrefix(key, "x-") {
			w.extension(pattern, key, path, service)
			continue
		}
		owner := service
		if pattern == "services" {
			owner = key
		}
		w.attribute(m[key], at, path, owner)
	}
}

// extension lets users' own x- keys pass, and x-ikada where it has a meaning.
func (w *attributeWalk) extension(pattern, key, path, service string) {
	if key == extensionKey && pattern != "services.*" && pattern != "" {
		w.found = append(w.found, finding{service, path, refused, "x-ikada stands directly at a service", nil})
	}
}

func (w *attributeWalk) attribute(value any, pattern, field, service string) {
	r, known := w.rules[pattern]
	switch {
	case !known:
		w.found = append(w.found, finding{service, field, refused, "unknown attribute", value})
		return
	case r.verdict != honoured:
		if !idle(value) {
			w.found = append(w.found, finding{service, field, r.verdict, r.why, value})
		}
		return
	case !w.inner[pattern]:
		return // the user's own keys, or a plain value
	}
	switch v := value.(type) {
	case map[string]any:
		w.mapping(v, pattern, field, service)
	case []any:
		for i, e := range v {
			if m, ok := e.(map[string]any); ok {
				w.mapping(m, join(pattern, "*"), fmt.Sprintf("%s[%d]", field, i), service)
			}
		}
	}
}

// idle tells whether a value says no more than its absence would.
func idle(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case int:
		return v == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// scalar renders a plain value for an error; what has parts is not repeated.
func scalar(v any) string {
	switch v.(type) {
	case nil, map[string]any, []any:
		return ""
	}
	s := fmt.Sprint(v)
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return s
}
