package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
	"github.com/ikada/ikada/internal/proxy/policy"
)

// maxAttempts is how often a request is sent, at most. Targets that accept no connection do not count.
const maxAttempts = 3

// downstream is the client's side of an exchange: a connection of HTTP/1, or a stream of HTTP/2.
//
// An answer is begun once, written in pieces and ended. Nothing need reach the client before flush or end.
type downstream interface {
	// readBody reads the request's body as it is without its framing; io.EOF at the end. It is called from the one
	// goroutine that sends the body on, and stopBody makes it return early.
	readBody(p []byte) (int, error)
	stopBody()
	bodyStopped()
	trailers() []http1.Field // after readBody's io.EOF

	// proceed tells a client that waits for it to send the body.
	proceed() error
	interim(res *http1.Response) error
	begin(a *answer) error
	write(p []byte) error
	flush() error
	end(trailers []http1.Field) error
	// abort makes sure that the client does not take what it got for the whole answer.
	abort()

	// waitFor says which connection is to be interrupted should the client leave or the deadline pass; nil for none.
	waitFor(u *upstream)
	isGone() bool
	deadline(at time.Duration) // on the proxy's clock; 0 is none
	overdue() bool
	gone() <-chan struct{}
	bytes() (in, out int64)
}

// answer is what a client is to be told before the body.
type answer struct {
	status   int
	reason   []byte
	fields   []http1.Field // those marked Hop, and those that frame the message, are left out
	extra    []byte        // more field lines, each with its end
	length   int64         // of the body, or http1.Chunked when it is not known
	declared int64         // Content-Length of an answer without a body; -1 for none
	bodiless bool          // there is no body, whatever length says
	encoded  bool          // the body is compressed on its way
}

// passes tells whether a field goes to the client, and what is put before its value.
func (a *answer) passes(f *http1.Field) (before string, ok bool) {
	switch {
	case f.Hop, f.Kind == http1.ContentLength, f.Kind == http1.TransferEncoding:
		return "", false
	case a.encoded:
		return policy.EncodedField(*f)
	}
	return "", true
}

// exchange is one HTTP request on its way to a target and its answer on the way back. A client's connection uses the
// same one for all its requests.
type exchange struct {
	p      *Proxy
	down   downstream
	client *client
	door   *door

	request *http1.Request
	body    []byte // the whole body, if it has come with the head
	streams bool   // the body is to be read from down

	search  search
	host    []byte // of the route
	path    []byte // in the form that routes are matched by
	scratch []byte // holds that where it is not as the client wrote it

	start     time.Duration
	result    meter.Result
	answered  bool // its first byte has been sent
	explained bool // why it failed is kept
	finished  bool // it is booked
	attempts  int
	pump      *pump
	bodyErr   error  // why the request's body could not be sent on, when that was not the target's doing
	out       []byte // what is sent to the target
	extra     []byte
	reply     answer
	id        requestID
}

func (x *exchange) init(p *Proxy, d *door, down downstream, from *client, shard int) {
	x.p, x.door, x.down, x.client = p, d, down, from
	x.search.proxy, x.search.seeker, x.search.shard = p, x, shard
}

// reset drops what the last request left.
func (x *exchange) reset() {
	x.down, x.client, x.door, x.request, x.body, x.host, x.path = nil, nil, nil, nil, nil, nil, nil
	x.search, x.reply, x.pump, x.id.given = search{}, answer{}, nil, nil
}

// serve answers one request.
func (x *exchange) serve() {
	x.start = x.p.clock()
	x.result, x.answered, x.attempts, x.bodyErr, x.explained, x.finished = meter.Result{}, false, 0, nil, false, false
	x.id.next(x.request)
	x.search.begin()
	x.place()
	x.finish()
}

// finish books what became of the request, for the entry it was last meant for, if any. An upgraded connection is booked
// at its switch, and not again at its end.
func (x *exchange) finish() {
	if x.finished {
		return
	}
	x.finished = true
	now := x.p.clock()
	if !x.answered {
		x.result.Wait = now - x.start
	}
	x.result.Total = now - x.start
	x.result.In, x.result.Out = x.down.bytes()
	x.result.Held = x.search.until != 0
	leaf := x.search.leaf
	if leaf == nil && x.search.entry != nil {
		leaf = x.search.entry.none
	}
	if leaf != nil {
		leaf.Add(x.search.shard, &x.result, x.p.wall(now))
	}
	x.logAccess(leaf)
	if leaf != nil && x.result.Failed() && !x.explained {
		x.explainStatus(leaf)
	}
	x.search.end()
}

// place finds where the request is to go, and sees to it that it gets there.
func (x *exchange) place() {
	r := x.request
	if string(r.Method) == "CONNECT" {
		x.say(405, "ikada: CONNECT is not served here")
		return
	}
	path, ok := policy.MatchPath(r.Path, x.scratch)
	if !ok {
		x.say(400, "ikada: the path has a bad escape, or dots that servers read differently")
		return
	}
	x.path, x.host = path, cleanHost(r.Authority)
	if x.rewritten() {
		x.scratch = path // which may have grown
	}
	e, err := x.search.enterTable()
	if err != nil {
		x.unplaced(err)
		return
	}
	if !e.policy.Zero() {
		if a := e.policy.Admit(r, x.origin(), x.p.wall(x.start)); a != nil {
			x.give(a)
			return
		}
	}
	e.pool.budget.Earn()
	for x.try() {
	}
}

// origin gives who sent the request, by the word of proxies that are trusted.
func (x *exchange) origin() policy.Client {
	if x.client.trusted {
		return policy.Origin(x.client.addr, x.client.tls, x.request.Fields, x.p.trusts)
	}
	return policy.Client{Addr: x.client.addr, TLS: x.client.tls}
}

// rewritten tells whether the path is matched in another form than it was written in. Where nothing had to be decoded
// or resolved the two share their memory.
func (x *exchange) rewritten() bool {
	raw := x.request.Path
	return len(x.path) > 0 && (len(raw) == 0 || &x.path[0] != &raw[0])
}

// find is the seeker's.
func (x *exchange) find(t *table) *entry { return x.door.find(t, x) }

func (x *exchange) prefers(e *entry) string {
	if e.policy.Zero() {
		return ""
	}
	return e.policy.StickyTask(x.request)
}

func (x *exchange) matches(m *policy.Match) bool { return m.Takes(x.request) }

func (x *exchange) gone() <-chan struct{} { return x.down.gone() }

// try makes one attempt with one target and tells whether there must be another.
func (x *exchange) try() (again bool) {
	t, err := x.search.next()
	if err != nil {
		x.unplaced(err)
		return false
	}
	defer t.release()
	if x.isGRPC() {
		return x.tryHTTP2(t)
	}
	// Of a task that has crashed all kept connections are dead: a request must not use up its attempts on them.
	u, err := t.lend(x.p.life, x.p, x.attempts > 0 || !x.replayable())
	if err != nil {
		x.refused(t, err)
		return true
	}
	return x.ask(t, u)
}

// refused notes a target that accepts no connections: nothing was sent, so any request can go elsewhere.
func (x *exchange) refused(t *target, err error) {
	t.member.Failed(x.p.clock())
	x.search.refused(t, err)
	x.result.Retries++
	x.p.log.Debug("target refused a connection", "task", t.Task, "error", err)
}

// ask sends the request to the target and passes on what it answers.
func (x *exchange) ask(t *target, u *upstream) (again bool) {
	x.attempts++
	x.down.waitFor(u)
	asked := x.p.clock()
	x.limit(asked)
	x.out = x.appendHead(x.out[:0])
	var err error
	if x.streams {
		err = x.askStreaming(u)
	} else {
		x.out = append(x.out, x.body...)
		err = u.ask(x.out)
	}
	if err == nil {
		err = x.lastHead(u)
	}
	if err != nil {
		x.stopPump()
		x.down.waitFor(nil)
		_ = u.Close()
		x.p.buffers.giveBack(&u.in)
		return x.unanswered(t, u, err)
	}
	now := x.p.clock()
	t.member.Answered(u.response.Status, now-asked, now)
	whole := x.pass(t, u)
	whole = x.stopPump() && whole
	x.down.waitFor(nil)
	u.finish(whole)
	return false
}

// limit sets the deadline for the answer's head.
func (x *exchange) limit(now time.Duration) {
	p := x.search.entry.policy
	if p.Zero() || p.Timeout() == 0 {
		x.down.deadline(0)
		return
	}
	x.down.deadline(now + p.Timeout())
}

// askStreaming sends the head and lets a goroutine send the body while the answer is waited for.
func (x *exchange) askStreaming(u *upstream) error {
	u.in.borrow(&x.p.buffers.small)
	if _, err := u.Write(x.out); err != nil {
		return err
	}
	x.pump = startPump(x, u)
	return nil
}

// stopPump ends the sending of the body and tells whether it had been sent whole.
func (x *exchange) stopPump() bool {
	if x.pump == nil {
		return true
	}
	whole := x.pump.stop()
	x.bodyErr = x.pump.clientErr
	x.pump = nil
	return whole
}

// lastHead reads heads until one that is not informational, and passes those on.
func (x *exchange) lastHead(u *upstream) error {
	for {
		if err := u.head(string(x.request.Method) == "HEAD"); err != nil {
			return err
		}
		status := u.response.Status
		if status >= 200 || status == 101 {
			if x.pump != nil {
				x.pump.answered()
			}
			return nil
		}
		if status == 100 {
			if x.pump != nil {
				x.pump.proceed()
			}
			continue
		}
		if err := x.down.interim(&u.response); err != nil {
			return clientError(err)
		}
	}
}

// replayable tells whether the request may be sent a second time though a target may have begun to work on it: by its
// method's meaning (RFC 9110 section 9.2.2), and because its body is still there.
func (x *exchange) replayable() bool {
	if x.streams {
		return false
	}
	switch string(x.request.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// unanswered decides what becomes of a request that a target has taken and not answered.
func (x *exchange) unanswered(t *target, u *upstream, err error) (again bool) {
	late := errors.Is(err, os.ErrDeadlineExceeded) && x.down.overdue()
	x.down.deadline(0)
	_, ofClient := errors.AsType[errClient](err)
	switch {
	case ofClient || x.down.isGone():
		x.result.Failure = meter.Aborted
		x.down.abort()
		return false
	case x.pumpFailed():
		return false
	case late:
		t.member.Failed(x.p.clock())
		x.result.Failure = meter.Timeout
		x.say(504, x.of("the task did not answer in time"))
		x.explain(t, meter.StepAnswer, err)
		return false
	}
	silent := u.in.end == 0 && !isBadAnswer(err)
	if !u.reused {
		t.member.Failed(x.p.clock())
	}
	if silent && x.replayable() && x.attempts < maxAttempts {
		// A kept connection that the target has just closed says nothing about the target.
		if u.reused {
			x.result.Retries++
			return true
		}
		x.search.refused(t, err)
		if x.search.entry.pool.group.Others(x.search.tried[:x.search.tries]) && x.search.entry.pool.budget.Spend() {
			x.result.Retries++
			x.search.leaf.Lose(x.p.wall(x.p.clock()))
			return true
		}
	}
	x.result.Failure = meter.Reset
	if isBadAnswer(err) {
		x.result.Failure = meter.Protocol
	}
	x.say(502, x.of("the task gave no valid answer"))
	x.explain(t, meter.StepAnswer, err)
	return false
}

func isBadAnswer(err error) bool {
	_, bad := errors.AsType[errBadAnswer](err)
	return bad
}

// pumpFailed tells whether it was the request's body that went wrong, and says so to the client.
func (x *exchange) pumpFailed() bool {
	switch {
	case x.bodyErr == nil:
		return false
	case errors.Is(x.bodyErr, errBodyTooLarge):
		x.say(413, x.of("the request's body is larger than this route allows"))
	case errors.Is(x.bodyErr, os.ErrDeadlineExceeded):
		x.result.Failure = meter.Aborted
		x.say(408, x.of("the request's body did not come"))
	default:
		x.result.Failure = meter.Aborted
		x.say(400, "ikada: the request's body broke off")
	}
	return true
}

// unplaced answers a request that no target was found for.
func (x *exchange) unplaced(err error) {
	if errors.Is(err, errNoRoute) {
		x.say(404, fmt.Sprintf("ikada: no service is routed at %s%s", x.request.Authority, x.request.Path))
		return
	}
	x.result.Failure = failureOf(err)
	if errors.Is(err, errGaveUp) {
		x.down.abort()
	} else {
		x.sayMore(503, x.of(err.Error()), append(x.extra[:0], "Retry-After: 1\r\n"...))
	}
	x.explain(nil, meter.StepPlace, err)
}

// failureOf gives the kind of a search's error. A client that gives up while there is nobody to serve it has failed:
// that is no fault of the client.
func failureOf(err error) meter.Failure {
	switch {
	case errors.Is(err, errQueue), errors.Is(err, errStopping):
		return meter.Overload
	case errors.Is(err, errRefused):
		return meter.Refused
	}
	return meter.NoTarget
}

// of puts the service before what is said of it.
func (x *exchange) of(text string) string {
	env, service := x.search.owner()
	if service == "" {
		return "ikada: " + text
	}
	return fmt.Sprintf("ikada: %s, service %s: %s", env, service, text)
}

// ownFields are those of the balancer's own answers.
const ownFields = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"

// appendDate appends the field that whoever makes an answer has to add (RFC 9110 section 6.6.1).
func (p *Proxy) appendDate(dst []byte) []byte {
	dst = p.wall(p.clock()).UTC().AppendFormat(append(dst, "Date: "...), http.TimeFormat)
	return append(dst, "\r\n"...)
}

// firstByte notes how long the client has waited.
func (x *exchange) firstByte() {
	if !x.answered {
		x.answered = true
		x.result.Wait = x.p.clock() - x.start
	}
}

// say sends an answer of the balancer's own.
func (x *exchange) say(status int, text string) { x.sayMore(status, text, nil) }

func (x *exchange) sayMore(status int, text string, extra []byte) {
	x.extra = x.p.appendDate(append(extra, ownFields...))
	if status >= 500 {
		x.extra = appendLine(x.extra, "X-Request-Id", x.id.bytes())
	}
	x.whole(status, append([]byte(text), '\n'))
}

// give sends an answer of the route's policy.
func (x *exchange) give(a *policy.Answer) {
	if a.Maintenance {
		x.result.Failure = meter.Maintenance
	}
	x.extra = x.p.appendDate(x.extra[:0])
	for _, f := range a.Fields {
		x.extra = appendLine(x.extra, f[0], f[1])
	}
	x.whole(a.Status, a.Body)
}

// whole sends an answer whose body is here. An error means that the client is gone, whom nobody can tell.
func (x *exchange) whole(status int, body []byte) {
	x.firstByte()
	x.result.Status = status
	head := string(x.request.Method) == "HEAD"
	x.reply = answer{status: status, extra: x.extra, length: int64(len(body)), declared: -1, bodiless: head}
	if head {
		x.reply.declared = int64(len(body))
	}
	if x.down.begin(&x.reply) != nil {
		return
	}
	if !head && x.down.write(body) != nil {
		return
	}
	_ = x.down.end(nil)
}

func wouldBlock(err error) bool { return err == syscall.EAGAIN } //nolint:errorlint // readNow gives it bare
