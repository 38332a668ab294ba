package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ikada/ikada/api"
)

// Problem is every error answer: RFC 9457's members with those of api.Error.
type Problem struct {
	Title    string   `json:"title" doc:"The HTTP status in words"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail" doc:"The whole sentence"`
	Kind     api.Kind `json:"kind" enum:"invalid,not_found,conflict,unauthorized,forbidden,exhausted,unavailable,timeout,internal"`
	Message  string   `json:"message"`
	Field    string   `json:"field,omitempty" doc:"The field of the request that is to blame"`
	Value    string   `json:"value,omitempty" doc:"What stood there; never a secret"`
	Expected string   `json:"expected,omitempty" doc:"What should have stood there"`
}

const problemType = "application/problem+json"

// Error gives the whole sentence.
func (p *Problem) Error() string { return p.Detail }

// GetStatus gives the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType marks the answer as a problem.
func (p *Problem) ContentType(string) string { return problemType }

// statusOf maps an error's kind to an HTTP status. It is the only place that does.
func statusOf(kind api.Kind) int {
	switch kind {
	case api.Invalid:
		return http.StatusUnprocessableEntity
	case api.NotFound:
		return http.StatusNotFound
	case api.Conflict:
		return http.StatusConflict
	case api.Unauthorized:
		return http.StatusUnauthorized
	case api.Forbidden:
		return http.StatusForbidden
	case api.Exhausted:
		return http.StatusInsufficientStorage
	case api.Unavailable:
		return http.StatusServiceUnavailable
	case api.Timeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// errorOf gives the *api.Error that stands for err, whatever it is.
func errorOf(err error) *api.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		if error(e) == err || e.Field != "" { //nolint:errorlint // is it wrapped, is the question
			return e
		}
		return &api.Error{Kind: e.Kind, Message: err.Error()}
	}
	kind := api.Internal
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		kind = api.Timeout
	}
	return &api.Error{Kind: kind, Message: err.Error()}
}

// problemOf gives the answer to a request that failed with err.
func problemOf(err error) *Problem {
	e := errorOf(err)
	return newProblem(statusOf(e.Kind), e)
}

func newProblem(status int, e *api.Error) *Problem {
	return &Problem{
		Title: http.StatusText(status), Status: status, Detail: e.Error(),
		Kind: e.Kind, Message: e.Message, Field: e.Field, Value: e.Value, Expected: e.Expected,
	}
}

// writeProblem answers a request that no operation handles.
func writeProblem(w http.ResponseWriter, p *Problem) {
	b, err := json.Marshal(p)
	if err != nil {
		panic("server: encode problem: " + err.Error()) // plain data always encodes
	}
	w.Header().Set("Content-Type", problemType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b)
}

// translate turns the framework's own error answers (malformed JSON, a violated schema) into problems.
func translate(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	return newProblem(m.Status, schemaError(m)), nil
}

// schemaError gives the first of the framework's complaints in ikada's words, and counts the rest. Values come from
// outside and may be secret: only short scalars at harmless places are repeated.
func schemaError(m *huma.ErrorModel) *api.Error {
	e := &api.Error{Kind: api.Invalid, Message: m.Detail}
	switch m.Status {
	case http.StatusRequestEntityTooLarge:
		return &api.Error{Kind: api.Invalid, Field: "body", Expected: fmt.Sprintf("at most %d MiB", maxBody>>20)}
	case http.StatusRequestTimeout:
		return &api.Error{Kind: api.Timeout, Message: "the request's body did not arrive in time"}
	case http.StatusUnsupportedMediaType:
		return &api.Error{Kind: api.Invalid, Field: "Content-Type", Expected: "application/json"}
	case http.StatusNotAcceptable:
		return &api.Error{Kind: api.Invalid, Field: "Accept", Expected: "application/json"}
	case http.StatusInternalServerError:
		if m.Detail == "cannot read request body" {
			return &api.Error{Kind: api.Invalid, Field: "body", Message: "it broke off"}
		}
		e.Kind = api.Internal
	}
	if len(m.Errors) == 0 {
		if m.Detail == "request body is required" {
			return &api.Error{Kind: api.Invalid, Field: "body", Expected: "a JSON object"}
		}
		return e
	}
	slices.SortStableFunc(m.Errors, func(a, b *huma.ErrorDetail) int {
		return cmp.Or(cmp.Compare(a.Location, b.Location), cmp.Compare(a.Message, b.Message))
	})
	d := m.Errors[0]
	if bad := mistyped.FindStringSubmatch(d.Message); bad != nil {
		return &api.Error{Kind: api.Invalid, Field: bad[2], Value: bad[1], Expected: "a value that fits " + bad[3]}
	}
	e.Field, e.Message = fieldName(d.Location), d.Message
	e.Value = harmless(d.Location, d.Value)
	if rest, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
		name, _, _ := strings.Cut(rest, " ")
		e.Field = fieldName(d.Location + "." + name)
		e.Message, e.Expected = "it is missing", "a value"
	} else if rest, ok := strings.CutPrefix(d.Message, "expected "); ok {
		e.Message, e.Expected = "", strings.TrimPrefix(rest, "string to be ")
	} else if d.Message == "unexpected property" {
		e.Message = "there is no such field"
	}
	if more := len(m.Errors) - 1; more > 0 {
		e.Message = strings.TrimPrefix(fmt.Sprintf("%s; and %d more wrong", e.Message, more), "; ")
	}
	return e
}

// mistyped is encoding/json's complaint of a number that the schema allows and the field's type cannot hold.
var mistyped = regexp.MustCompile(`cannot unmarshal number (\S+) into Go struct field \w+\.(\S+) of type (\w+)`)

// fieldName drops where in the request a field stands from its location.
func fieldName(location string) string {
	for _, part := range []string{"body.", "path.", "query.", "header."} {
		if rest, ok := strings.CutPrefix(location, part); ok && rest != "" {
			return rest
		}
	}
	return location
}

// harmless gives a value that may be repeated to the caller and in logs; "" for every other.
func harmless(location string, v any) string {
	for _, part := range []string{"secrets", "configs", "password", "basicAuth", ".env", "args", "labels"} {
		if strings.Contains(location, part) && !strings.HasPrefix(location, "path.") { // there names stand alone
			return ""
		}
	}
	const most = 80
	switch v := v.(type) {
	case string:
		if location == "body" {
			return ""
		}
		if len(v) > most {
			return strings.ToValidUTF8(v[:most], "") + "…"
		}
		return v
	case nil, []any, map[string]any, map[any]any, time.Time:
		return ""
	}
	return fmt.Sprint(v)
}
