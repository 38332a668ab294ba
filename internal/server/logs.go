package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// settle is how long lines that are followed wait for earlier ones of other tasks.
const settle = 25 * time.Millisecond

type logsInput struct {
	EnvPath
	Service string    `query:"service" maxLength:"63"`
	Task    string    `query:"task" maxLength:"63"`
	Since   time.Time `query:"since" doc:"Only lines since then"`
	Tail    int       `query:"tail" default:"-1" doc:"Only the last so many lines of each task; negative: all"`
	Follow  bool      `query:"follow" doc:"Go on with new lines, and with those of tasks that start later"`
}

func (in *logsInput) wants(t *api.Task) bool {
	return t.EnvRef == in.ref() && (in.Service == "" || t.Service == in.Service) && (in.Task == "" || t.ID == in.Task)
}

// logs sends the output of an environment's tasks as one stream.
func (s *Server) logs(ctx context.Context, in *logsInput) (sendFunc, error) {
	if s.deps.Tasks == nil {
		return nil, missing("way to reach tasks")
	}
	tasks, rev, err := s.loggedTasks(ctx, in)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, send func(string, any) error) error {
		emit := func(l api.LogLine) error { return send("", l) }
		if in.Follow {
			return s.followLogs(ctx, in, tasks, rev, emit)
		}
		return s.mergeLogs(ctx, in, tasks, emit)
	}, nil
}

// loggedTasks gives the tasks whose output was asked for, those that have ended too.
func (s *Server) loggedTasks(ctx context.Context, in *logsInput) (tasks []*api.Task, rev int64, err error) {
	rev, err = s.store.View(ctx, func(tx store.Tx) error {
		tasks = nil
		env, err := loadEnvironment(tx, in.ref())
		if err != nil {
			return err
		}
		if in.Task != "" {
			t, err := findTask(tx, in.Task)
			if err != nil {
				return err
			}
			if t.EnvRef != in.ref() {
				return api.Errorf(api.NotFound, "task %s is not of %s", t.ID, in.ref())
			}
			in.Task = t.ID
		}
		all, err := store.List[api.Task](tx, store.Tasks)
		if err != nil {
			return err
		}
		for _, t := range all {
			if in.wants(t) {
				tasks = append(tasks, t)
			}
		}
		if in.Service == "" || len(tasks) > 0 {
			return nil
		}
		specs, err := specsInForce(tx, env)
		if err != nil || len(specs) == 0 || slices.ContainsFunc(specs, func(spec *api.AppSpec) bool {
			_, ok := spec.Services[in.Service]
			return ok
		}) {
			return err
		}
		return unknownService("service", in.Service, specs[0])
	})
	return tasks, rev, err
}

// labelled reads a task's lines and says whose they are.
type labelled struct {
	LogReader
	task *api.Task
	head api.LogLine
}

// next reads the next line into head; false at the end.
func (l *labelled) next() (bool, error) {
	line, err := l.Next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, err
	}
	line.Service, line.Task, line.Slot = l.task.Service, l.task.ID, l.task.Slot
	if l.task.Job != nil {
		line.Job = l.task.Job.Name
	}
	l.head = line
	return true, nil
}

// openLog opens a task's log; nil when there is none (yet, or any more).
func (s *Server) openLog(ctx context.Context, in *logsInput, t *api.Task) (*labelled, error) {
	r, err := s.deps.Tasks.Logs(ctx, t.ID, LogQuery{Since: in.Since, Tail: in.Tail, Follow: in.Follow})
	if api.IsKind(err, api.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &labelled{LogReader: r, task: t}, nil
}

// mergeLogs sends what there is, in order of time.
func (s *Server) mergeLogs(ctx context.Context, in *logsInput, tasks []*api.Task, emit func(api.LogLine) error) error {
	var open []*labelled
	defer func() {
		for _, l := range open {
			_ = l.Close()
		}
	}()
	for _, t := range tasks {
		l, err := s.openLog(ctx, in, t)
		if err != nil {
			return err
		}
		if l == nil {
			continue
		}
		more, err := l.next()
		if err != nil || !more {
			_ = l.Close()
			if err != nil {
				return err
			}
			continue
		}
		open = append(open, l)
	}
	for len(open) > 0 {
		first := 0
		for i, l := range open {
			if l.head.Time.Before(open[first].head.Time) {
				first = i
			}
		}
		if err := emit(open[first].head); err != nil {
			return err
		}
		more, err := open[first].next()
		if err != nil {
			return err
		}
		if !more {
			_ = open[first].Close()
			open = slices.Delete(open, first, first+1)
		}
	}
	return nil
}

// followLogs sends what comes from every task, and from those that are made later, until ctx ends. Lines that arrive
// close together are put in order of time.
func (s *Server) followLogs(ctx context.Context, in *logsInput, tasks []*api.Task, rev int64, emit func(api.LogLine) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	lines := make(chan api.LogLine)
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	followed := map[string]bool{}
	follow := func(t *api.Task, in *logsInput) {
		if followed[t.ID] {
			return
		}
		followed[t.ID] = true
		wg.Go(func() {
			if err := s.followTask(ctx, in, t, lines); err != nil && ctx.Err() == nil {
				fail(err)
			}
		})
	}
	for _, t := range tasks {
		follow(t, in)
	}
	wg.Go(func() {
		if err := s.followNewTasks(ctx, in, rev, follow); err != nil && ctx.Err() == nil {
			fail(err)
		}
	})
	return inOrder(ctx, lines, failed, emit)
}

// followNewTasks calls follow for every task that is made. A new task's output counts from its beginning.
func (s *Server) followNewTasks(ctx context.Context, in *logsInput, rev int64, follow func(*api.Task, *logsInput)) error {
	whole := *in
	whole.Tail = -1
	for {
		err := s.watch(ctx, store.Tasks, rev, func(c store.Change) error {
			if c.Deleted {
				return nil
			}
			t, err := decodeEntry[api.Task](c.Entry)
			if err == nil && in.wants(t) {
				follow(t, &whole)
			}
			return err
		})
		if ctx.Err() != nil || err != errWatchBroke { //nolint:errorlint // never wrapped
			return err
		}
		tasks, next, err := s.loggedTasks(ctx, in)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			follow(t, &whole)
		}
		rev = next
	}
}

// followTask passes a task's lines on. A task that has no log yet is tried again until it has one or is gone.
func (s *Server) followTask(ctx context.Context, in *logsInput, t *api.Task, lines chan<- api.LogLine) error {
	l, err := s.openLog(ctx, in, t)
	for wait := settle; err == nil && l == nil; wait = min(2*wait, 2*time.Second) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		view, verr := s.getTask(ctx, &taskInput{ID: t.ID})
		if verr != nil || view.State().Final() {
			return nil
		}
		l, err = s.openLog(ctx, in, t)
	}
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	for {
		more, err := l.next()
		if err != nil || !more {
			return err
		}
		select {
		case lines <- l.head:
		case <-ctx.Done():
			return nil
		}
	}
}

// inOrder emits lines in batches, each sorted by time.
func inOrder(ctx context.Context, lines <-chan api.LogLine, failed <-chan error, emit func(api.LogLine) error) error {
	const most = 10_000
	var batch []api.LogLine
	var due <-chan time.Time
	flush := func() error {
		slices.SortStableFunc(batch, func(a, b api.LogLine) int {
			return cmp.Or(a.Time.Compare(b.Time))
		})
		for _, l := range batch {
			if err := emit(l); err != nil {
				return err
			}
		}
		batch, due = batch[:0], nil
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return errors.Join(flush(), err)
		case l := <-lines:
			batch = append(batch, l)
			if due == nil {
				due = time.After(settle)
			}
			if len(batch) < most {
				continue
			}
		case <-due:
		}
		if err := flush(); err != nil {
			return err
		}
	}
}
