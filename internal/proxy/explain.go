package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"unsafe"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// explain keeps why a request failed.
func (x *exchange) explain(t *target, step meter.Step, err error) {
	f := x.search.fault(t, step, err)
	x.describe(&f)
	x.p.faults.Add(f)
}

// explainStatus keeps who gave an answer of 500 or above that nothing went wrong with on its way.
func (x *exchange) explainStatus(leaf *meter.Leaf) {
	from := leaf.Source()
	text := strconv.Itoa(x.result.Status) + " " + http.StatusText(x.result.Status)
	f := meter.Fault{Env: from.Env, Service: from.Service, Route: from.Route, Release: from.Release, Task: from.Task,
		Step: meter.StepAnswer, Error: "the task answered " + text}
	if from.Task == "" {
		f.Step, f.Error = meter.StepPlace, "the route itself answers "+text
	}
	x.describe(&f)
	x.p.faults.Note(f)
}

// describe adds the request, and what has become of it so far.
func (x *exchange) describe(f *meter.Fault) {
	r := x.request
	f.ID, f.Method, f.Host, f.Path = string(x.id.bytes()), string(r.Method), string(r.Authority), string(r.Path)
	f.Failure, f.Status, f.Retries = x.result.Failure, x.result.Status, x.result.Retries
	f.Waited = api.Duration(x.p.clock() - x.start)
	x.explained = true
}

// explain keeps why a TCP connection was not connected.
func (g *passage) explain(err error) {
	f := g.search.fault(nil, meter.StepPlace, err)
	f.Failure, f.Waited = failureOf(err), api.Duration(g.door.proxy.clock()-g.start)
	g.door.proxy.faults.Add(f)
}

// fault begins the explanation of a search's end. One that waited because every target refused is about the last that
// did, whatever ended the wait.
func (s *search) fault(t *target, step meter.Step, err error) meter.Fault {
	env, service := s.owner()
	f := meter.Fault{Env: env, Service: service, Step: step, Error: err.Error()}
	if s.entry != nil {
		f.Route = s.entry.name
	}
	if t == nil && s.tries > 0 {
		t, f.Step = s.refusal.target, meter.StepConnect
		if !errors.Is(err, errRefused) {
			f.Error += "; " + errRefused.Error()
		}
		f.Error += ": " + s.refusal.err.Error()
	}
	if t != nil {
		f.Release, f.Task = t.Release, t.Task
	}
	return f
}

// logAccess writes the request to the access log, if there is one that wants it. leaf is nil when no route took it.
func (x *exchange) logAccess(leaf *meter.Leaf) {
	log := x.p.access
	if log == nil || !log.Wants(&x.result) {
		return
	}
	r := x.request
	proto := "HTTP/1.1"
	if _, ok := x.down.(*stream); ok {
		proto = "HTTP/2.0"
	} else if r.Minor == 0 {
		proto = "HTTP/1.0"
	}
	log.Add(x.search.shard, &meter.Entry{
		Time: x.p.wall(x.start + x.result.Total), ID: view(x.id.bytes()), Client: x.client.name, Method: view(r.Method),
		Host: view(r.Authority), Path: view(r.Path), Proto: proto,
		UserAgent: view(valueOf(r.Fields, http1.UserAgent)), Referer: view(valueOf(r.Fields, http1.Referer)),
		Leaf: leaf, Result: x.result,
	})
}

// logRefused does the same for what was refused before it was clear what is asked for.
func (p *Proxy) logRefused(shard int, e meter.Entry) {
	if p.access.Wants(&e.Result) {
		e.Time = p.wall(p.clock())
		p.access.Add(shard, &e)
	}
}

// view gives bytes as a string without a copy, for somebody who does not keep it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
