package remote

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

const (
	defaultTraffic  = time.Minute
	defaultFailures = 50

	// mostPoints bounds what an answer with every second costs the process: a kilobyte a point, and half of one on its way.
	mostPoints = 20_000
)

// counted is what a process has counted since a time.
type counted struct {
	Began  time.Time     `json:"began"`  // when it began to count
	Points []meter.Point `json:"points"` // of each second, or their sums
}

// dimensions are what traffic is kept apart by.
var dimensions = map[string]meter.Dimension{
	api.ByService: meter.ByService, api.ByRelease: meter.ByRelease, api.ByTask: meter.ByTask, api.ByRoute: meter.ByRoute,
}

// getTraffic tells what the requests of an environment have met.
func (s *server) getTraffic(w http.ResponseWriter, r *http.Request) {
	by, known := dimensions[r.FormValue("by")]
	since, err := strconv.ParseInt(r.FormValue("since"), 10, 64)
	if !known || err != nil {
		http.Error(w, "traffic is asked for by something unknown, or since no time", http.StatusBadRequest)
		return
	}
	ask := s.proxy.Meters().Sums
	if r.FormValue("seconds") != "" {
		ask = s.proxy.Meters().Series
	}
	answer(w, counted{Began: s.began, Points: ask(by, meter.Selection{Env: envOf(r)}, time.Unix(since, 0))})
}

// getFailures explains the last failed requests of an environment, newest first.
func (s *server) getFailures(w http.ResponseWriter, r *http.Request) {
	last, err := strconv.Atoi(r.FormValue("last"))
	if err != nil {
		http.Error(w, "how many failures is no number", http.StatusBadRequest)
		return
	}
	answer(w, s.proxy.Faults().Failures(envOf(r), last))
}

func envOf(r *http.Request) api.EnvRef {
	return api.EnvRef{App: r.FormValue("app"), Env: r.FormValue("env")}
}

// merge adds what p has counted, and has in flight.
func merge(to, p *meter.Point) {
	to.Requests += p.Requests
	to.Failed += p.Failed
	for i, n := range p.Status {
		to.Status[i] += n
	}
	for i, n := range p.Failures {
		to.Failures[i] += n
	}
	to.Latency.Merge(&p.Latency)
	to.Longest = max(to.Longest, p.Longest)
	to.In += p.In
	to.Out += p.Out
	to.Retries += p.Retries
	to.Lost += p.Lost
	to.InFlight += p.InFlight
	to.Held += p.Held
}

// traffic gives seconds, or their sums.
func (p *peer) traffic(ctx context.Context, env api.EnvRef, by string, since time.Time, seconds bool) (c counted, err error) {
	q := url.Values{"app": {env.App}, "env": {env.Env}, "by": {by}, "since": {strconv.FormatInt(since.Unix(), 10)}}
	if seconds {
		q.Set("seconds", "true")
	}
	err = p.call(ctx, http.MethodGet, "/traffic", q, nil, &c)
	return c, err
}

func (p *peer) failures(ctx context.Context, env api.EnvRef, last int) (all []meter.Fault, err error) {
	q := url.Values{"app": {env.App}, "env": {env.Env}, "last": {strconv.Itoa(last)}}
	err = p.call(ctx, http.MethodGet, "/failures", q, nil, &all)
	return all, err
}

// Traffic tells what the requests of an environment have met, those in the hands of replaced processes too. Whoever
// asks fills in Node, and the slots of tasks. A query that cannot be meant is an error of kind Invalid; a process that
// does not answer, one of kind Unavailable.
func (b *Balancer) Traffic(ctx context.Context, env api.EnvRef, q api.TrafficQuery) (api.Traffic, error) {
	q.By, q.Since = cmp.Or(q.By, api.ByService), cmp.Or(q.Since, api.Duration(defaultTraffic))
	if _, known := dimensions[q.By]; !known {
		return api.Traffic{}, api.FieldError("by", q.By, "service, release, task or route")
	}
	if q.Since.Std() < time.Second || q.Since.Std() > api.MaxTraffic {
		return api.Traffic{}, api.FieldError("since", q.Since.String(), "1s to "+api.MaxTraffic.String())
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	t, err := b.count(ctx, env, q, false)
	if err == nil && q.Points {
		if members, seconds := len(t.rows), int(q.Since.Std()/time.Second); members*seconds > mostPoints {
			return api.Traffic{}, api.FieldError("points", "true", fmt.Sprintf(
				"at most %d points, not %d s of %d members each: ask for less time, or by service", mostPoints, seconds, members))
		}
		t, err = b.count(ctx, env, q, true)
	}
	if err != nil {
		return api.Traffic{}, err
	}
	return t.traffic(env, q), nil
}

// count asks all processes for seconds, or for their sums.
func (b *Balancer) count(ctx context.Context, env api.EnvRef, q api.TrafficQuery, seconds bool) (*tally, error) {
	now := time.Now()
	back := min(q.Since.Std(), api.MaxTraffic-time.Second) // the present second is one of those that are kept
	t := newTally(time.Unix(now.Unix()-int64(back/time.Second), 0), now)
	current, retiring := b.peers()
	c, err := current.traffic(ctx, env, q.By, t.from, seconds)
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "ask the balancer for its counts: %w", err)
	}
	all := []counted{c}
	for _, p := range retiring {
		if c, err := p.traffic(ctx, env, q.By, t.from, seconds); err == nil { // one that ended meanwhile has nothing to tell
			all = append(all, c)
		}
	}
	began := now
	for _, c := range all {
		for i := range c.Points {
			if !seconds {
				c.Points[i].Time = now // what is in flight is so now
			}
			t.add(&c.Points[i])
		}
		if c.Began.Before(began) {
			began = c.Began
		}
	}
	if began.After(t.from) {
		t.from = began
	}
	return t, nil
}

// Seconds gives what the requests of an environment's services met, by release, oldest first; that which goes on is not
// complete. A process that does not answer is an error of kind Unavailable.
func (b *Balancer) Seconds(ctx context.Context, env api.EnvRef, since time.Time) ([]meter.Point, error) {
	return b.Points(ctx, env, api.ByRelease, since)
}

// Points gives the same, kept apart as by says.
func (b *Balancer) Points(ctx context.Context, env api.EnvRef, by string, since time.Time) ([]meter.Point, error) {
	t, err := b.count(ctx, env, api.TrafficQuery{By: by, Since: api.Duration(time.Since(since) + time.Second)}, true)
	if err != nil {
		return nil, err
	}
	var out []meter.Point
	for source, row := range t.rows {
		for _, p := range row {
			p.Source = source
			out = append(out, *p)
		}
	}
	slices.SortFunc(out, func(a, b meter.Point) int { return a.Time.Compare(b.Time) })
	return out, nil
}

// Failures explains the last failed requests of an environment, newest first, as Traffic counts them. Whoever asks
// fills in the slots of tasks.
func (b *Balancer) Failures(ctx context.Context, env api.EnvRef, q api.FailureQuery) ([]api.Failure, error) {
	last := cmp.Or(q.Last, defaultFailures)
	if last < 0 || last > api.MaxFailures {
		return nil, api.FieldError("last", strconv.Itoa(last), "1 to "+strconv.Itoa(api.MaxFailures))
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	current, retiring := b.peers()
	faults, err := current.failures(ctx, env, last)
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "ask the balancer for failures: %w", err)
	}
	for _, p := range retiring {
		if more, err := p.failures(ctx, env, last); err == nil {
			faults = append(faults, more...)
		}
	}
	out := make([]api.Failure, 0, len(faults))
	for i := range faults {
		if f := &faults[i]; !f.Time.Before(q.Since) {
			out = append(out, failure(f))
		}
	}
	slices.SortStableFunc(out, func(a, b api.Failure) int { return b.Time.Compare(a.Time) })
	return out[:min(last, len(out))], nil
}

func failure(f *meter.Fault) api.Failure {
	return api.Failure{Time: f.Time.UTC(), ID: f.ID, Method: f.Method, Host: f.Host, Path: f.Path, Route: f.Route, Service: f.Service,
		Release: f.Release, Task: f.Task, Step: string(f.Step), Kind: f.Failure.String(), Error: f.Error, Status: f.Status,
		Waited: f.Waited, Retries: f.Retries}
}

// peers gives the current process and those that it replaced.
func (b *Balancer) peers() (current *peer, retiring []*peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current, slices.Collect(maps.Values(b.retiring))
}
