package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ikada/ikada/api"
)

// Jobs gives an environment's schedules, and its jobs that have not ended; with all, those that are kept too.
func (c *Client) Jobs(ctx context.Context, ref api.EnvRef, all bool) (api.JobList, error) {
	return fetch[api.JobList](ctx, c, http.MethodGet, envPath(ref, "jobs"), flag("all", all), nil)
}

// Job gives one job by its ID or the beginning of it that no other ID of the environment shares.
func (c *Client) Job(ctx context.Context, ref api.EnvRef, id string) (api.Job, error) {
	return fetch[api.Job](ctx, c, http.MethodGet, envPath(ref, "jobs", id), nil, nil)
}

// RunJob asks for a one-off run of a command. An attached one is stopped unless WatchJob with attach, or Attach, follows.
func (c *Client) RunJob(ctx context.Context, ref api.EnvRef, req api.JobRequest) (api.Job, error) {
	return fetch[api.Job](ctx, c, http.MethodPost, envPath(ref, "jobs"), nil, req)
}

// TriggerCron runs now what a service has scheduled under a name.
func (c *Client) TriggerCron(ctx context.Context, ref api.EnvRef, service, name string) (api.Job, error) {
	return fetch[api.Job](ctx, c, http.MethodPost, envPath(ref, "crons", service, name, "run"), nil, nil)
}

// StopJob asks for the end of a job and gives it as it is then; it ends a while later.
func (c *Client) StopJob(ctx context.Context, ref api.EnvRef, id string) (api.Job, error) {
	return fetch[api.Job](ctx, c, http.MethodPost, envPath(ref, "jobs", id, "stop"), nil, nil)
}

// WatchJob calls each with a job at every change and with its output, until it has ended and all of its output was
// given, and gives its end. It lives through a restart of the server. With attach, a job that was asked for as attached
// goes on for as long as this does.
func (c *Client) WatchJob(ctx context.Context, ref api.EnvRef, id string, attach bool, each func(api.JobEvent) error) (api.Job, error) {
	var last api.Job
	mark := newLogMark(api.LogRequest{Tail: -1})
	query := func() url.Values {
		lines := mark.query()
		q := url.Values{}
		set(q, "since", lines.Get("since"))
		if attach {
			q.Set("attach", "true")
		}
		return q
	}
	err := c.follow(ctx, envPath(ref, "jobs", id, "watch"), query, func(_ string, data []byte) error {
		var e api.JobEvent
		if err := decode(data, &e); err != nil {
			return err
		}
		switch {
		case e.Line != nil && !mark.fresh(*e.Line):
			return nil
		case e.Job != nil:
			last = *e.Job
		}
		return each(e)
	})
	return last, err
}

// Attach runs the command of a job with a terminal and gives its exit code; see Exec. The job is stopped when ctx ends
// or the connection breaks.
func (c *Client) Attach(ctx context.Context, ref api.EnvRef, id string, req api.ExecRequest, s ExecStreams) (int, error) {
	return c.runFrames(ctx, envPath(ref, "jobs", id, "terminal"), req, s)
}

// OutputOf gives the bytes that a line of a job stood for.
func OutputOf(e api.JobEvent) []byte {
	if e.Line == nil {
		return nil
	}
	out := e.Raw
	if out == nil {
		out = []byte(e.Line.Text)
	}
	if !e.Line.Partial {
		out = append(out, '\n')
	}
	return out
}
