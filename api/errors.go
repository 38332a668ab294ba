package api

import (
	"errors"
	"fmt"
)

// Kind classifies an error once and for all; the server maps it to an HTTP status and the CLI to an exit code.
type Kind string

// The kinds of error.
const (
	Invalid      Kind = "invalid"      // the caller's input is wrong: names field, value and what was expected
	NotFound     Kind = "not_found"    // the named object does not exist
	Conflict     Kind = "conflict"     // the object is in a state that forbids the request
	Unauthorized Kind = "unauthorized" // no or unknown credentials
	Forbidden    Kind = "forbidden"    // the credentials do not allow it
	Exhausted    Kind = "exhausted"    // a limit, the disk, an address pool is used up
	Unavailable  Kind = "unavailable"  // a part that is needed does not answer now; try again
	Timeout      Kind = "timeout"      // a deadline passed
	Internal     Kind = "internal"     // a defect of ikada
)

// Error is an error with a kind and, where one field of the input is to blame, its name, its value and what was
// expected there.
type Error struct {
	Kind     Kind   `json:"kind"`
	Message  string `json:"message"`
	Field    string `json:"field,omitempty"`
	Value    string `json:"value,omitempty"`
	Expected string `json:"expected,omitempty"`
	err      error
}

// Error gives the whole sentence.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	s := e.Field
	if e.Value != "" {
		s += fmt.Sprintf(": %q", e.Value)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Expected != "" {
		s += "; expected " + e.Expected
	}
	return s
}

// Unwrap gives the cause, if there is one.
func (e *Error) Unwrap() error { return e.err }

// Errorf makes an error of a kind; %w keeps the cause.
func Errorf(kind Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), err: errors.Unwrap(err)}
}

// FieldError makes an Invalid error that names a field, the value found and what was expected.
func FieldError(field, value, expected string) error {
	return &Error{Kind: Invalid, Field: field, Value: value, Expected: expected}
}

// KindOf gives the kind of the first *Error in err's chain; Internal when there is none, "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// IsKind tells whether err is of the kind.
func IsKind(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
