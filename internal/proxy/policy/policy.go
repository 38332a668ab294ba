package policy

import (
	"maps"
	"net/netip"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// Policy is one route's policy, ready to be asked. It does not change once compiled, but for its counters.
type Policy struct {
	spec   api.RoutePolicy
	prefix string // the route's path without the slash at its end
	zero   bool
	admits bool // Admit has something to decide

	conditions []condition
	rewrite    *rewrite
	redirect   *redirect
	page       *Answer // the maintenance page
	limit      *limit
	guard      *guard
	tooLarge   *Answer
	cookie     string // name of the sticky cookie, "" for none
}

// Client is who sent a request, after the rules on whose word about it is trusted.
type Client struct {
	Addr netip.Addr
	TLS  bool // the client's own connection is encrypted
}

// Compile makes the policy p of a route ready. prefix is the route's path as in [api.Route], decoded. old is the
// policy that the same route had before, or nil: if nothing has changed it is returned, and what of it is unchanged
// keeps its state, so that a new table does not reset a rate limit or forget who has logged in. p must not be changed
// any more. The error is of kind [api.Invalid] and names the field; a route whose policy it is must not be served, as
// the policy may be what guards it.
func Compile(prefix string, p api.RoutePolicy, old *Policy) (*Policy, error) {
	prefix = MatchPrefix(prefix)
	if old != nil && old.prefix == prefix && old.spec.Equal(&p) {
		return old, nil
	}
	if old == nil {
		old = &Policy{}
	}
	n := &Policy{spec: p, prefix: prefix, zero: p.Equal(&api.RoutePolicy{})}
	for _, part := range []func(old *Policy) error{
		n.compileNumbers, n.compileConditions, n.compileTarget, n.compilePage, n.compileLimit, n.compileGuard, n.compileSticky,
	} {
		if err := part(old); err != nil {
			return nil, err
		}
	}
	n.admits = n.redirect != nil || n.page != nil || n.limit != nil || n.guard != nil || n.tooLarge != nil
	return n, nil
}

func (p *Policy) compileNumbers(*Policy) error {
	switch {
	case p.spec.Timeout < 0:
		return api.FieldError("timeout", p.spec.Timeout.String(), "a duration of 0 or more")
	case p.spec.IdleTimeout < 0:
		return api.FieldError("idleTimeout", p.spec.IdleTimeout.String(), "a duration of 0 or more")
	case p.spec.MaxBody < 0:
		return api.FieldError("maxBody", "", "a number of bytes of 0 or more")
	case p.spec.MaxBody > 0:
		p.tooLarge = textAnswer(413)
	}
	return nil
}

func (p *Policy) compileTarget(*Policy) (err error) {
	if p.rewrite, err = compileRewrite(p.spec.Rewrite, p.prefix); err != nil {
		return err
	}
	p.redirect, err = compileRedirect(p.spec.Redirect)
	return err
}

func (p *Policy) compilePage(*Policy) (err error) {
	p.page, err = compilePage(p.spec.Maintenance)
	return err
}

func (p *Policy) compileLimit(old *Policy) (err error) {
	if old.limit != nil && p.spec.RateLimit != nil && *old.spec.RateLimit == *p.spec.RateLimit {
		p.limit = old.limit
		return nil
	}
	p.limit, err = compileLimit(p.spec.RateLimit)
	return err
}

func (p *Policy) compileGuard(old *Policy) (err error) {
	if old.guard != nil && maps.Equal(old.spec.BasicAuth, p.spec.BasicAuth) {
		p.guard = old.guard
		return nil
	}
	p.guard, err = compileGuard(p.spec.BasicAuth)
	return err
}

// Zero tells that the policy takes all requests and passes them on as they are, so that no other method need be asked:
// but AppendTarget, for a path that is not [Plain].
func (p *Policy) Zero() bool { return p.zero }

// MaxBody is how many bytes a request's body may have, 0 for any number. Admit has answered requests that announce
// more; who passes a body on must still count one that announces no length.
func (p *Policy) MaxBody() int64 { return p.spec.MaxBody }

// Timeout is how long a target may take from the request's end to the answer's head, 0 for ever.
func (p *Policy) Timeout() time.Duration { return p.spec.Timeout.Std() }

// IdleTimeout is how long no byte may pass in either direction, 0 for ever.
func (p *Policy) IdleTimeout() time.Duration { return p.spec.IdleTimeout.Std() }

// Admit decides about a request before a target is chosen: nil passes it on, else the answer is to be sent instead.
//
// A redirect comes first, so that nobody is asked for a password on a connection that should be encrypted; then the
// maintenance page, the rate limit, basic auth (whose checks the rate limit thus protects), and the body's announced
// length. A password that was not seen lately takes a bcrypt check, some 50 ms and more: no lock may be held here.
func (p *Policy) Admit(r *http1.Request, c Client, now time.Time) *Answer {
	if !p.admits {
		return nil
	}
	if p.redirect != nil {
		if a := p.redirect.answer(r, c); a != nil {
			return a
		}
	}
	if p.page != nil {
		return p.page
	}
	if p.limit != nil {
		if a := p.limit.answer(r, c, now); a != nil {
			return a
		}
	}
	if p.guard != nil {
		if a := p.guard.answer(r, c, now); a != nil {
			return a
		}
	}
	if p.tooLarge != nil && r.Length > p.spec.MaxBody {
		return p.tooLarge
	}
	return nil
}
