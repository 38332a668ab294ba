package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/balance"
	"github.com/ikada/ikada/internal/proxy/policy"
)

const (
	dialTimeout = 3 * time.Second

	// keepIdle is how long an unused connection to a target is kept: shorter than the servers that give up earliest
	// (Node.js: 5 s), so that it is hardly ever they who close it, which may hit a request on its way.
	keepIdle = 4 * time.Second

	// trustIdle is how long a connection counts as alive without a look at it.
	trustIdle = 20 * time.Millisecond

	idlePerTarget = 4096
)

// target is one port of one task, with what is in flight there and the connections to it. Each time a task enters
// the table it gets a new one, so a target that has left never comes back.
type target struct {
	api.Target
	key     string          // of the sticky cookie
	member  *balance.Member // counts requests, upgraded connections and TCP connections in flight; raised only by search.pick
	left    chan struct{}   // closed when the table in force no longer names it
	drained func()          // called when it has left and nothing is in flight any more
	pool    upstreams
	h2c     func() *http.Transport // made at the first gRPC call
	h2cMade atomic.Bool
}

func newTarget(t api.Target, now time.Duration, drained func()) *target {
	g := &target{Target: t, key: policy.TaskKey(t.Task), member: balance.NewMember(t.Release, now), left: make(chan struct{}), drained: drained}
	g.h2c = sync.OnceValue(func() *http.Transport {
		defer g.h2cMade.Store(true)
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		return &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return g.dial(ctx) },
			Protocols:          &protocols,
			DisableCompression: true, // bodies pass as they are
			IdleConnTimeout:    keepIdle,

			MaxResponseHeaderBytes: largeBytes,
		}
	})
	return g
}

// dialError says that the target never accepted a connection: nothing of the request was sent.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func (t *target) dial(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, dialError{err}
	}
	return c.(*net.TCPConn), nil
}

func isRefused(err error) bool {
	_, ok := errors.AsType[dialError](err)
	return ok
}

// leave ends the target's time in the table. Connections that wait for a request are closed now, the others as soon
// as their request has ended.
func (t *target) leave() {
	close(t.left)
	t.retire()
}

func (t *target) hasLeft() bool {
	select {
	case <-t.left:
		return true
	default:
		return false
	}
}

// release ends one count of what is in flight.
func (t *target) release() {
	n := t.member.InFlight.Add(-1)
	if n == 0 && t.hasLeft() {
		t.retire()
		t.drained()
	}
}

// retire closes the connections that wait for a request, and those of requests in flight when they have ended.
func (t *target) retire() {
	t.closeIdle()
	if t.h2cMade.Load() {
		t.h2c().CloseIdleConnections()
	}
}
