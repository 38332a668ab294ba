package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type watchJobInput struct {
	EnvPath
	ID     string    `path:"id" maxLength:"63" pattern:"^[a-zA-Z0-9_-]+$" patternDescription:"a job's ID, or the beginning of one"`
	Attach bool      `query:"attach" doc:"The job is to be stopped a while after its last attached watcher has gone, if it was asked for so"`
	Since  time.Time `query:"since" doc:"Only output since then"`
}

// errSeen ends a wait for a job by whom it is waited for.
var errSeen = errors.New("it has come")

// watchJob sends a job as it is and at every change, and its output as it comes, until it has ended and all is sent.
func (s *Server) watchJob(ctx context.Context, in *watchJobInput) (sendFunc, error) {
	if s.deps.Tasks == nil {
		return nil, missing("way to reach tasks")
	}
	if in.Attach { // it keeps what somebody began going
		if err := allow(ctx, api.RoleAdmin, in.ref()); err != nil {
			return nil, err
		}
	}
	j, rev, err := s.loadJob(ctx, in.ref(), in.ID)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, send func(string, any) error) error {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		if in.Attach {
			wg.Go(func() { s.keepJob(ctx, &j) })
		}
		lines, changes := make(chan api.JobEvent), make(chan api.Job)
		var failed error
		wg.Go(func() {
			defer close(changes)
			failed = s.followJob(ctx, j, rev, func(j api.Job) error {
				select {
				case changes <- j:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		})
		ended := make(chan struct{}) // the job has
		wg.Go(func() {
			defer close(lines)
			s.jobOutput(ctx, &j, in.Since, ended, lines)
		})
		return merge(send, lines, changes, ended, &failed)
	}, nil
}

// merge sends what comes of a job: its end after all of its output.
func merge(send func(string, any) error, lines <-chan api.JobEvent, changes <-chan api.Job, ended chan<- struct{}, failed *error) error {
	var last *api.Job
	for lines != nil || changes != nil {
		select {
		case e, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			if err := send("", e); err != nil {
				return err
			}
		case j, ok := <-changes:
			if !ok {
				changes = nil
				if *failed != nil {
					return *failed
				}
				continue
			}
			if j.State.Final() {
				if last == nil {
					close(ended)
				}
				last = &j
				continue
			}
			if err := send("", api.JobEvent{Job: &j}); err != nil {
				return err
			}
		}
	}
	return send("", api.JobEvent{Job: last})
}

// followJob calls each with the job as it is and at every change that a watcher sees, until it has ended.
func (s *Server) followJob(ctx context.Context, j api.Job, rev int64, each func(api.Job) error) error {
	for {
		if err := each(j); err != nil || j.State.Final() {
			return err
		}
		shown := j
		key := store.JobKey(j.EnvRef, j.ID)
		err := s.watch(ctx, key, rev, func(c store.Change) error {
			if c.Deleted {
				return api.Errorf(api.NotFound, "%s was removed", store.Describe(key))
			}
			next, err := decodeEntry[api.Job](c.Entry)
			if err != nil || next.State == shown.State && next.Reason == shown.Reason {
				return err
			}
			shown = *next
			if err := each(shown); err != nil {
				return err
			}
			if shown.State.Final() {
				return errEnded
			}
			return nil
		})
		switch {
		case errors.Is(err, errEnded):
			return nil
		case !errors.Is(err, errWatchBroke):
			return err
		}
		if j, rev, err = s.loadJob(ctx, j.EnvRef, j.ID); err != nil {
			return err
		}
	}
}

// jobOutput gives the lines of a job's log until that is closed, or, where there is none, until the job has ended.
func (s *Server) jobOutput(ctx context.Context, j *api.Job, since time.Time, ended <-chan struct{}, lines chan<- api.JobEvent) {
	over := false
	for wait := settle; ; wait = min(2*wait, time.Second) {
		r, err := s.deps.Tasks.Logs(ctx, j.ID, LogQuery{Since: since, Tail: -1, Follow: true})
		if err == nil {
			defer func() { _ = r.Close() }()
			s.copyOutput(ctx, j, r, lines)
			return
		}
		if over || !api.IsKind(err, api.NotFound) {
			return // a job that was never started has none
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			over = true // one more look
		case <-time.After(wait):
		}
	}
}

func (s *Server) copyOutput(ctx context.Context, j *api.Job, r LogReader, lines chan<- api.JobEvent) {
	for {
		l, err := r.Next()
		if err != nil {
			return
		}
		l.Service, l.Task, l.Job = j.Service, j.ID, j.Name
		e := api.JobEvent{Line: &l}
		if !utf8.ValidString(l.Text) {
			e.Raw, l.Text = []byte(l.Text), ""
		}
		select {
		case lines <- e:
		case <-ctx.Done():
			return
		}
	}
}

// keepJob says again and again that the job's client is there, until ctx ends or the job has ended.
func (s *Server) keepJob(ctx context.Context, j *api.Job) {
	if j.Until.IsZero() {
		return
	}
	for {
		now, err := s.changeJob(ctx, j.EnvRef, j.ID, func(j *api.Job) error {
			if !j.State.Final() {
				j.Until = s.now().Add(api.AttachLease.Std()).Round(0)
			}
			return nil
		})
		if err == nil && now.State.Final() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(api.AttachLease.Std() / 3):
		}
	}
}

// terminal runs the command of a job before its client's eyes, once.
func (s *Server) terminal(ctx context.Context, in *jobInput) (http.HandlerFunc, error) {
	if s.deps.Tasks == nil {
		return nil, missing("way to reach tasks")
	}
	j, rev, err := s.loadJob(ctx, in.ref(), in.ID)
	switch {
	case err != nil:
		return nil, err
	case !j.Terminal:
		return nil, api.Errorf(api.Conflict, "job %s has no terminal: its output is in its log", j.ID)
	case j.State.Final() || j.Begun:
		return nil, api.Errorf(api.Conflict, "the command of job %s has begun already, which it does once", j.ID)
	}
	return s.serveFrames(func(ctx context.Context, c *execConn, wg *sync.WaitGroup) api.ExecResult {
		req, err := c.hello(ctx, false)
		if err != nil {
			return api.ExecResult{Error: errorOf(err)}
		}
		keep, stop := context.WithCancel(ctx)
		defer stop()
		wg.Go(func() { s.keepJob(keep, &j) })
		if err := s.beginTerminal(ctx, j, rev); err != nil {
			return api.ExecResult{Error: errorOf(err)}
		}
		result, gone := s.serveExec(ctx, c, j.ID, Exec{Request: req, Held: true}, wg)
		s.endTerminal(ctx, &j, &result, gone)
		return result
	}), nil
}

// beginTerminal waits until the job's task runs, and notes that its command begins.
func (s *Server) beginTerminal(ctx context.Context, j api.Job, rev int64) error {
	err := s.followJob(ctx, j, rev, func(j api.Job) error {
		switch {
		case j.State.Final():
			return api.Errorf(api.Conflict, "job %s %s: %s", j.ID, stateWords(j.State), j.Reason)
		case j.State == api.JobRunning:
			return errSeen
		}
		return nil
	})
	if err == nil { // it ended without a word
		err = api.Errorf(api.Conflict, "job %s has ended", j.ID)
	}
	if !errors.Is(err, errSeen) {
		return err
	}
	_, err = s.changeJob(ctx, j.EnvRef, j.ID, func(j *api.Job) error {
		if j.Begun || j.State.Final() {
			return api.Errorf(api.Conflict, "the command of job %s has begun already, which it does once", j.ID)
		}
		j.Begun = true
		return nil
	})
	return err
}

// endTerminal writes down how the command of a terminal ended. One whose client has gone was killed.
func (s *Server) endTerminal(ctx context.Context, j *api.Job, result *api.ExecResult, gone bool) {
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), execHello)
	defer cancel()
	now, err := s.changeJob(writing, j.EnvRef, j.ID, func(j *api.Job) error {
		if j.State.Final() {
			return nil
		}
		if gone && j.Stop == "" {
			j.Stop = "its client has gone"
		}
		if !gone {
			j.Result = &api.JobResult{Code: result.Code, At: s.now().Round(0)}
			if result.Error != nil {
				j.Result.Error = result.Error.Error()
			}
		}
		return nil
	})
	switch {
	case err != nil:
		s.log.Warn("write result of job", "task", j.ID, "error", err)
	case now.Stop != "" && result.Error == nil && !gone:
		result.Error = errorOf(api.Errorf(stopKind(&now), "job %s was stopped: %s", j.ID, now.Stop))
	}
}

func stopKind(j *api.Job) api.Kind {
	if j.Cause == api.CauseTimeout {
		return api.Timeout
	}
	return api.Conflict
}
