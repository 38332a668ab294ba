package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// exchange is one HTTP request on its way to a target and its answer on the way back.
type exchange struct {
	proxy  *Proxy
	w      http.ResponseWriter
	r      *http.Request
	search search
	start  time.Time
	body   *clientBody // nil: the request has none
	result result
	waited bool // result.wait is set
}

// serve answers one HTTP request with what find's pool has to say.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, find func(*table) *pool) {
	p.conns.enter()
	defer p.conns.leave()
	x := &exchange{
		proxy: p, w: w, r: r, start: time.Now(),
		search: search{proxy: p, find: find},
	}
	defer x.finish() // also when the connection is cut by a panic with http.ErrAbortHandler
	if r.Method == http.MethodConnect {
		x.say(http.StatusMethodNotAllowed, "ikada: CONNECT is not served here")
		return
	}
	if r.ContentLength != 0 {
		x.body = newClientBody(w, r)
		defer x.body.detach()
	}
	for x.try() {
	}
}

// finish books what became of the request, for the pool it was last meant for.
func (x *exchange) finish() {
	x.firstByte()
	if x.search.pool != nil {
		x.search.pool.book(x.result)
	}
	x.search.end()
}

// firstByte notes how long the client has waited.
func (x *exchange) firstByte() {
	if !x.waited {
		x.waited = true
		x.result.wait = time.Since(x.start)
	}
}

// try makes one attempt with one target and tells whether there must be another.
func (x *exchange) try() (again bool) {
	t, err := x.search.next(x.r.Context())
	if err != nil {
		x.unplaced(err)
		return false
	}
	defer t.release()
	res, err := x.send(t)
	switch {
	case err == nil:
		x.answer(t, res)
		return false
	case x.r.Context().Err() != nil:
		x.result.aborted = true
		panic(http.ErrAbortHandler) // else the server would make an empty answer of it
	case refused(err) && x.body.untouched():
		x.search.refused(t)
		return true
	}
	x.unanswered(t, err)
	return false
}

// unplaced answers a request that no target was found for.
func (x *exchange) unplaced(err error) {
	env, service := x.search.owner()
	switch {
	case errors.Is(err, errNoRoute):
		x.say(http.StatusNotFound, fmt.Sprintf("ikada: no service is routed at %s%s", x.r.Host, x.r.URL.Path))
		return
	case errors.Is(err, context.Canceled):
		// The client gave up while there was nobody to serve it: that is no fault of the client.
		x.result.failed = true
		x.proxy.faults.write(&x.search, nil, stepPlace, err)
		panic(http.ErrAbortHandler)
	default:
		x.w.Header().Set("Retry-After", "1")
		text := fmt.Sprintf("ikada: %s, service %s: %v", env, service, err)
		if service == "" {
			text = fmt.Sprintf("ikada: %v", err)
		}
		x.say(http.StatusServiceUnavailable, text)
	}
	x.proxy.faults.write(&x.search, nil, stepPlace, err)
}

// unanswered tells the client that the target took the request and gave no answer.
func (x *exchange) unanswered(t *target, err error) {
	if x.body.clientFailed() {
		x.result.aborted = true
		x.say(http.StatusBadRequest, "ikada: the request's body broke off")
		return
	}
	env, service := x.search.owner()
	x.say(http.StatusBadGateway, fmt.Sprintf("ikada: %s, service %s: the task gave no valid answer", env, service))
	x.proxy.faults.write(&x.search, t, stepSend, err)
}

// say sends an answer of the balancer's own.
func (x *exchange) say(status int, text string) {
	x.firstByte()
	x.result.status = status
	x.result.failed = x.result.failed || status >= 500
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	x.w.WriteHeader(status)
	// An error here means that the client is gone, whom nobody can tell.
	_, _ = fmt.Fprintln(x.w, text)
}

// isGRPC tells whether the target must be spoken to in HTTP/2: gRPC has no other form. "application/grpc-web" has.
func isGRPC(r *http.Request) bool {
	const grpc = "application/grpc"
	ct := r.Header.Get("Content-Type")
	return r.ProtoMajor == 2 && len(ct) >= len(grpc) && ct[:len(grpc)] == grpc &&
		(len(ct) == len(grpc) || ct[len(grpc)] == '+' || ct[len(grpc)] == ';')
}
