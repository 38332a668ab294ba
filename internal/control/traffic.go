package control

import (
	"cmp"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/verdict"
)

const (
	baseline = 5 * time.Minute // of the old release's requests before a deployment are worth having
	recount  = 2 * time.Second // the last seconds are asked for again: they were not complete
)

// observed is what the requests of an environment met while a release of it is judged. The balancer knows less, and to
// ask for all of it every second would cost more than to judge it.
type observed struct {
	since, until time.Time
	traffic      map[string]deploy.Traffic
}

// watch adds the traffic to a world in which a release is judged. An environment is one worker's at a time.
func (l *Loop) watch(w *deploy.World) {
	d := cmp.Or(w.Deployment, w.Bake)
	env := w.Env.EnvRef
	if d == nil || d.Backwards || d.Kind == api.KindRollback || l.cfg.Traffic == nil {
		l.mu.Lock()
		delete(l.observed, env)
		l.mu.Unlock()
		return
	}
	o := l.observe(env, d, w.Now)
	if second := w.Now.Truncate(time.Second); second.After(o.until) {
		since := o.until.Add(-recount)
		fresh, err := l.cfg.Traffic.Seconds(env, since)
		if err != nil {
			l.cfg.Log.Warn("ask for traffic", "app", env.App, "env", env.Env, "error", err)
		} else {
			o.add(fresh, since.Unix())
			o.until = second
		}
	}
	w.Traffic = o.traffic
}

// observe gives what is known of the environment's traffic since before the deployment.
func (l *Loop) observe(env api.EnvRef, d *api.Deployment, now time.Time) *observed {
	began := d.StartedAt
	if began.IsZero() {
		began = now
	}
	since := began.Add(-baseline).Truncate(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.observed[env]
	if o == nil || !o.since.Equal(since) {
		o = &observed{since: since, until: since, traffic: map[string]deploy.Traffic{}}
		l.observed[env] = o
	}
	return o
}

// add puts fresh seconds in the place of those from since on.
func (o *observed) add(fresh map[string]deploy.Traffic, since int64) {
	for service, releases := range fresh {
		if o.traffic[service] == nil {
			o.traffic[service] = deploy.Traffic{}
		}
		for release, seconds := range releases {
			known := o.traffic[service][release]
			at, _ := slices.BinarySearchFunc(known, since, func(s verdict.Second, t int64) int { return cmp.Compare(s.Time, t) })
			o.traffic[service][release] = append(known[:at:at], seconds...)
		}
	}
}
