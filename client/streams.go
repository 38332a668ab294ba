package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
)

// WatchDeployment calls each with the deployment as it is and again at every change, until it has ended, and gives
// its end. It lives through a restart of the server. An error of each ends it and comes back.
func (c *Client) WatchDeployment(ctx context.Context, ref api.EnvRef, n uint64, each func(api.Deployment) error) (api.Deployment, error) {
	return c.watchUntil(ctx, ref, n, nil, each)
}

// WatchTrial does the same until the deployment's release is on trial no more, where it was: a deployment that has no
// trial ends it as well.
func (c *Client) WatchTrial(ctx context.Context, ref api.EnvRef, n uint64, each func(api.Deployment) error) (api.Deployment, error) {
	return c.watchUntil(ctx, ref, n, url.Values{"until": {api.UntilTrial}}, each)
}

func (c *Client) watchUntil(ctx context.Context, ref api.EnvRef, n uint64, query url.Values, each func(api.Deployment) error) (api.Deployment, error) {
	var last api.Deployment
	p := envPath(ref, "deployments", decimal(n), "watch")
	err := c.follow(ctx, p, func() url.Values { return query }, func(_ string, data []byte) error {
		var d api.Deployment
		if err := decode(data, &d); err != nil {
			return err
		}
		last = d
		if each == nil {
			return nil
		}
		return each(d)
	})
	return last, err
}

// Events calls each for every event that q chooses, in order of time. With q.Follow it goes on until ctx ends.
func (c *Client) Events(ctx context.Context, q api.EventQuery, each func(api.Event) error) error {
	after, limit := q.After, q.Limit
	query := func() url.Values {
		v := url.Values{}
		set(v, "app", q.App)
		set(v, "env", q.Env)
		set(v, "after", after)
		if limit > 0 {
			v.Set("limit", strconv.Itoa(limit))
		}
		if q.Follow {
			v.Set("follow", "true")
		}
		return v
	}
	take := func(_ string, data []byte) error {
		var e api.Event
		if err := decode(data, &e); err != nil {
			return err
		}
		after, limit = e.ID, 0
		return each(e)
	}
	if q.Follow {
		return c.follow(ctx, "/events", query, take)
	}
	return c.once(ctx, http.MethodGet, "/events", query(), nil, take)
}

// Logs calls each for every line that q chooses, roughly in order of time. With q.Follow it goes on until ctx ends,
// and takes in tasks that start later.
func (c *Client) Logs(ctx context.Context, ref api.EnvRef, q api.LogRequest, each func(api.LogLine) error) error {
	mark := newLogMark(q)
	take := func(_ string, data []byte) error {
		var l api.LogLine
		if err := decode(data, &l); err != nil {
			return err
		}
		if !mark.fresh(l) {
			return nil
		}
		return each(l)
	}
	if q.Follow {
		return c.follow(ctx, envPath(ref, "logs"), mark.query, take)
	}
	return c.once(ctx, http.MethodGet, envPath(ref, "logs"), mark.query(), nil, take)
}

// Build builds an image from the files of a session (see DialSession) and gives its pinned reference. each, which may
// be nil, gets the progress.
func (c *Client) Build(ctx context.Context, req api.BuildRequest, each func(api.BuildEvent)) (string, error) {
	var image string
	err := c.once(ctx, http.MethodPost, "/builds", nil, req, func(_ string, data []byte) error {
		var e api.BuildEvent
		if err := decode(data, &e); err != nil {
			return err
		}
		if each != nil {
			each(e)
		}
		if e.Error != nil {
			return e.Error
		}
		if e.Image != "" {
			image = e.Image
		}
		return nil
	})
	if err == nil && image == "" {
		err = api.Errorf(api.Internal, "build %s: it ended without an image", req.Service)
	}
	return image, err
}

// logMark remembers how far a log was read, so that a new connection can go on there. Tasks' lines interleave and
// may be a little out of order: it asks from shortly before the newest line and drops what it has seen.
type logMark struct {
	q     api.LogRequest
	began bool
	last  map[string]linePlace // task → its newest line
	top   time.Time
	skip  map[string]int // task → lines at exactly its newest time still to drop
}

type linePlace struct {
	at time.Time
	n  int // lines seen with just that time
}

const logOverlap = 2 * time.Second

func newLogMark(q api.LogRequest) *logMark { return &logMark{q: q, last: map[string]linePlace{}} }

func (m *logMark) query() url.Values {
	since, tail := m.q.Since, m.q.Tail
	if m.began {
		if t := m.top.Add(-logOverlap); !m.top.IsZero() && t.After(since) {
			since = t
		}
		if !m.top.IsZero() {
			tail = -1
		}
		m.skip = map[string]int{}
		for task, p := range m.last {
			m.skip[task] = p.n
		}
	}
	m.began = true
	v := url.Values{"tail": {strconv.Itoa(tail)}}
	set(v, "service", m.q.Service)
	set(v, "task", m.q.Task)
	if !since.IsZero() {
		v.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if m.q.Follow {
		v.Set("follow", "true")
	}
	return v
}

// fresh tells whether the line was not seen yet, and remembers it.
func (m *logMark) fresh(l api.LogLine) bool {
	p := m.last[l.Task]
	if m.skip != nil {
		switch {
		case l.Time.Before(p.at):
			return false
		case l.Time.Equal(p.at) && m.skip[l.Task] > 0:
			m.skip[l.Task]--
			return false
		}
	}
	if l.Time.Equal(p.at) {
		p.n++
	} else {
		p = linePlace{at: l.Time, n: 1}
		delete(m.skip, l.Task)
	}
	m.last[l.Task] = p
	if l.Time.After(m.top) {
		m.top = l.Time
	}
	return true
}

func decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return api.Errorf(api.Internal, "read event of stream: %w", err)
	}
	return nil
}

func set(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}
