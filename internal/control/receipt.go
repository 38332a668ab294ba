package control

import (
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
)

// lateness is how much later than a deployment's start the counting of its requests may begin and still be whole.
const lateness = time.Second

// Traffic counts the requests of environments. What it counts outlives this process.
type Traffic interface {
	// Count gives what was counted under a name since it was first asked for.
	Count(env api.EnvRef, name string) (Count, error)
	// Close ends the counting under a name.
	Close(name string)
	// Seconds gives what the requests of every service met, by release and second, from a time on; that which goes on
	// is not complete. How far back it reaches is the balancer's.
	Seconds(env api.EnvRef, since time.Time) (map[string]deploy.Traffic, error)
}

// Count is what the requests met that ended since a time.
type Count struct {
	Since time.Time
	Tally
	Releases []ReleaseTally // in rising order
}

// Tally is what some requests met.
type Tally struct {
	Requests uint64
	Failed   uint64
	Longest  time.Duration // wait for an answer's first byte
	Held     uint64        // of the requests, those that waited for a task
	Retried  uint64        // attempts after a request's first
}

// ReleaseTally is what the requests met that one release answered; 0 is what no task had.
type ReleaseTally struct {
	Release uint64
	Tally
}

func windowName(env api.EnvRef, deployment uint64) string {
	return fmt.Sprintf("%s/%d", env, deployment)
}

// receipt counts the requests of a deployment from its start to its end, and writes what was counted when the plan
// ends it.
func (l *Loop) receipt(p *deploy.Plan, w deploy.World) {
	d := p.Deployment
	if d == nil {
		d = w.Deployment
	}
	if d == nil || l.cfg.Traffic == nil {
		return
	}
	env := w.Env.EnvRef
	ended := p.Deployment != nil && d.State.Final()
	l.mu.Lock()
	counting := l.counting[env] == d.Number
	l.counting[env] = d.Number
	l.mu.Unlock()
	if counting && !ended {
		return
	}
	c, err := l.cfg.Traffic.Count(env, windowName(env, d.Number)) // the first time this begins the counting
	if !ended {
		return
	}
	switch {
	case err != nil:
		d.Receipt.Partial = "the balancer did not say what it counted"
		l.cfg.Log.Warn("count requests", "app", env.App, "env", env.Env, "error", err)
		return
	case c.Since.Sub(d.StartedAt) > lateness:
		d.Receipt.Partial = "the balancer was restarted meanwhile: counted from " + c.Since.Format(time.TimeOnly)
	}
	r := &d.Receipt
	r.Requests, r.Failed, r.LongestWait, r.Held, r.Retried = c.Requests, c.Failed, api.Duration(c.Longest), c.Held, c.Retried
	for _, one := range c.Releases {
		r.Releases = append(r.Releases, api.ReleaseReceipt{Release: one.Release, Requests: one.Requests, Failed: one.Failed,
			LongestWait: api.Duration(one.Longest), Held: one.Held, Retried: one.Retried})
	}
}

// stopCounting ends the counting for the environment's deployment.
func (l *Loop) stopCounting(env api.EnvRef) {
	l.mu.Lock()
	n, ok := l.counting[env]
	delete(l.counting, env)
	l.mu.Unlock()
	if ok && l.cfg.Traffic != nil {
		l.cfg.Traffic.Close(windowName(env, n))
	}
}
