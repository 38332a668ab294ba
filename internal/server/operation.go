package server

import (
	"context"
	"math"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ikada/ikada/api"
)

// body is an answer of JSON.
type body[T any] struct{ Body T }

// none is the input of an operation that takes nothing.
type none struct{}

// EnvPath is the part of a path that names an environment. It is exported because the framework fills only what
// reflection may set.
type EnvPath struct {
	App string `path:"app" maxLength:"63" pattern:"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" patternDescription:"lowercase letters, digits and '-', beginning and ending with a letter or digit"`
	Env string `path:"env" maxLength:"63" pattern:"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" patternDescription:"lowercase letters, digits and '-', beginning and ending with a letter or digit"`
}

func (e EnvPath) ref() api.EnvRef { return api.EnvRef{App: e.App, Env: e.Env} }

// operation describes one route. Its ID is what the documents and generated clients call it.
func operation(id, method, path, summary string) huma.Operation {
	tag, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag},
		MaxBodyBytes: maxBody + 1, BodyReadTimeout: bodyTimeout, // the framework refuses from its limit on
	}
}

// handle registers an operation that answers with JSON; with status 204, with nothing.
func handle[I, O any](a huma.API, op huma.Operation, fn func(ctx context.Context, in *I) (O, error)) {
	documentProblem(a, &op)
	if op.DefaultStatus == http.StatusNoContent {
		huma.Register(a, op, func(ctx context.Context, in *I) (*struct{}, error) {
			bodyArrived(ctx)
			_, err := fn(ctx, in)
			answerBegins(ctx)
			if err != nil {
				return nil, problemOf(err)
			}
			return nil, nil
		})
		return
	}
	huma.Register(a, op, func(ctx context.Context, in *I) (*body[O], error) {
		bodyArrived(ctx)
		out, err := fn(ctx, in)
		answerBegins(ctx)
		if err != nil {
			return nil, problemOf(err)
		}
		return &body[O]{out}, nil
	})
}

// raw registers an operation that writes its answer itself. fn checks the request and gives what writes.
func raw[I any](a huma.API, op huma.Operation, fn func(ctx context.Context, in *I) (http.HandlerFunc, error)) {
	documentProblem(a, &op)
	huma.Register(a, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		bodyArrived(ctx)
		h, err := fn(ctx, in)
		if err != nil {
			return nil, problemOf(err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			r, w := humago.Unwrap(c)
			h(w, r)
		}}, nil
	})
}

// stream registers an operation that answers with server-sent events whose data is a T. fn checks the request and
// gives what sends.
func stream[T, I any](a huma.API, s *Server, op huma.Operation, fn func(ctx context.Context, in *I) (sendFunc, error)) {
	documentStream[T](a, &op)
	raw(a, op, func(ctx context.Context, in *I) (http.HandlerFunc, error) {
		run, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		return s.serveEvents(run), nil
	})
}

func documentStream[T any](a huma.API, op *huma.Operation) {
	schema := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	respond(op, "200", "Server-sent events, each with this as its data; the last one is named end, or error with a problem", "text/event-stream", schema)
}

func documentProblem(a huma.API, op *huma.Operation) {
	schema := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	respond(op, "default", "Error", problemType, schema)
}

func respond(op *huma.Operation, status, description, contentType string, schema *huma.Schema) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	r := op.Responses[status]
	if r == nil {
		r = &huma.Response{Description: description, Content: map[string]*huma.MediaType{}}
		op.Responses[status] = r
	}
	r.Content[contentType] = &huma.MediaType{Schema: schema}
}

// bodyArrived lifts the deadline for the request's body, which would else end whatever takes longer.
func bodyArrived(ctx context.Context) {
	if c := requestOf(ctx).control; c != nil {
		_ = c.SetReadDeadline(time.Time{})
	}
}

// answerBegins sets the deadline by which a client must have taken a JSON answer.
func answerBegins(ctx context.Context) {
	if c := requestOf(ctx).control; c != nil {
		_ = c.SetWriteDeadline(time.Now().Add(answerTimeout))
	}
}

// sharpen adds to the schemas what the framework does not read from Go's types: the notation of durations and the
// range of small numbers. So a wrong one is refused with its place in the request.
func sharpen(a huma.API) {
	registry := a.OpenAPI().Components.Schemas
	for name, schema := range registry.Map() {
		t := registry.TypeFromRef("#/components/schemas/" + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for _, f := range reflect.VisibleFields(t) {
			field, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := schema.Properties[field]
			switch {
			case p == nil:
			case f.Type == reflect.TypeFor[api.Duration]():
				p.Pattern = `^-?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`
				p.PatternDescription = "a number with a unit, such as 300ms, 10s or 5m"
				p.PrecomputeMessages()
			case f.Type.Kind() == reflect.Uint16:
				atMost(p, math.MaxUint16)
			case f.Type.Kind() == reflect.Uint32:
				atMost(p, math.MaxUint32)
			case f.Type == reflect.TypeFor[[]uint16]():
				atMost(p.Items, math.MaxUint16)
			}
		}
	}
}

func atMost(s *huma.Schema, most float64) {
	s.Maximum = &most
	s.PrecomputeMessages()
}
