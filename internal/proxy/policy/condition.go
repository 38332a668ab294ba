package policy

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// condition is a field that a request must have.
type condition struct {
	name  fieldName
	value string
	any   bool // of whatever value
}

// fieldName is a field's name, made ready to be compared.
type fieldName struct {
	kind http1.Kind
	name []byte // in lower case
}

func nameOf(name string) fieldName {
	lower := []byte(strings.ToLower(name))
	return fieldName{kind: http1.KindOf(lower), name: lower}
}

func (n *fieldName) of(f *http1.Field) bool {
	if f.Kind != n.kind {
		return false
	}
	return n.kind != http1.Other || len(f.Name) == len(n.name) && bytes.EqualFold(f.Name, n.name)
}

func (p *Policy) compileConditions(*Policy) error {
	for _, m := range p.spec.Methods {
		if !token(m) || strings.ToUpper(m) != m {
			return api.FieldError("methods", m, "a method in capitals, such as GET")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.spec.Headers)) {
		if !token(name) {
			return api.FieldError("headers", name, "a header's name")
		}
		value := p.spec.Headers[name]
		if !fieldValue(value) {
			return api.FieldError("headers."+name, value, "a header's value without control characters, or * for any")
		}
		p.conditions = append(p.conditions, newCondition(name, value))
	}
	return nil
}

// Matches tells whether the route takes the request: it has one of the methods, and each of the headers at least once
// with just the value asked for. Values are compared byte by byte, names without regard to case.
func (p *Policy) Matches(r *http1.Request) bool {
	named := func(m string) bool { return m == string(r.Method) } // compares without a copy
	if len(p.spec.Methods) > 0 && !slices.ContainsFunc(p.spec.Methods, named) {
		return false
	}
	for i := range p.conditions {
		if !p.conditions[i].met(r.Fields) {
			return false
		}
	}
	return true
}

func (c *condition) met(fields []http1.Field) bool {
	for i := range fields {
		if f := &fields[i]; c.name.of(f) && (c.any || string(f.Value) == c.value) {
			return true
		}
	}
	return false
}

// Specificity orders the routes of one host and path: the greater is asked first. A route for certain methods comes
// before one for all, as in Kubernetes' Gateway API; then counts how many headers a route asks for, and how many of
// these with a certain value.
func (p *Policy) Specificity() int {
	n := min(len(p.conditions), 1<<10-1)
	s := n << 10
	if len(p.spec.Methods) > 0 {
		s |= 1 << 20
	}
	for _, c := range p.conditions[:n] {
		if !c.any {
			s++
		}
	}
	return s
}

// token tells whether s is a name in HTTP (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// fieldValue tells whether s may stand in a field (RFC 9110, section 5.5).
func fieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
