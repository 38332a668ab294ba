package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/store"
)

// crons gives web crons and commits it.
func (b *bench) crons(specs map[string]api.CronSpec) {
	b.t.Helper()
	b.deployed(api.DeployRequest{Spec: spec(func(s *api.AppSpec) {
		web := s.Services["web"]
		web.Cron = specs
		s.Services["web"] = web
	})})
}

// job gives a job as the store has it.
func (b *bench) job(id string) *api.Job {
	b.t.Helper()
	return get[api.Job](b, store.JobKey(shop, id))
}

// move brings a job to a state, as the control loop does.
func (b *bench) move(id string, change func(j *api.Job)) {
	b.t.Helper()
	b.update(func(tx store.Tx) error {
		j, err := store.Get[api.Job](tx, store.JobKey(shop, id))
		if err != nil {
			return err
		}
		change(j)
		return store.Put(tx, store.JobKey(shop, id), j)
	})
}

func runs(args ...string) api.JobRequest {
	return api.JobRequest{Service: "web", Command: api.Command{Command: args}}
}

func TestRunJob(t *testing.T) {
	b := newBench(t)
	_, err := b.client.RunJob(b.ctx(), shop, runs("true"))
	wantKind(t, err, api.NotFound, "shop/production")
	resp := b.deploy(api.DeployRequest{Spec: spec()})
	_, err = b.client.RunJob(b.ctx(), shop, runs("true"))
	wantKind(t, err, api.Conflict, "no committed release")
	b.finish(shop, resp.Deployment.Number, api.DeploySucceeded)

	before := b.dump()
	for _, c := range []struct {
		req  api.JobRequest
		says []string
	}{
		{runs(), []string{"command", "a program"}},
		{api.JobRequest{Service: "wbe", Command: api.Command{Command: []string{"true"}}}, []string{"service", "wbe", "web"}},
		{runs("a\x00b"), []string{"command[0]", "zero byte"}},
		{api.JobRequest{Service: "web", Command: api.Command{Command: []string{"a"}, Env: map[string]string{"A=B": ""}}}, []string{"env", "A=B"}},
		{api.JobRequest{Service: "web", Command: api.Command{Command: []string{"a"}}, Timeout: -1}, []string{"timeout"}},
	} {
		_, err := b.client.RunJob(b.ctx(), shop, c.req)
		wantKind(t, err, api.Invalid, c.says...)
	}
	if b.dump() != before {
		t.Error("what was refused has left something")
	}

	j, err := b.client.RunJob(b.ctx(), shop, runs("bin/migrate"))
	if err != nil || j.Kind != api.JobRun || j.State != api.JobPending || j.Release != 1 || j.Title() != "web.run" || !j.Until.IsZero() {
		t.Fatalf("job %+v, %v", j, err)
	}
	attached := runs("bin/migrate")
	attached.Attached = true
	if k, err := b.client.RunJob(b.ctx(), shop, attached); err != nil || time.Until(k.Until) < 20*time.Second {
		t.Errorf("attached job %+v, %v", k, err)
	}
	list, err := b.client.Jobs(b.ctx(), shop, false)
	if err != nil || len(list.Jobs) != 2 || list.Jobs[1].ID != j.ID {
		t.Errorf("list %+v, %v", list, err)
	}
	if got, err := b.client.StopJob(b.ctx(), shop, j.ID[:7]); err != nil || got.ID != j.ID || !strings.HasPrefix(got.Stop, "stopped by ") {
		t.Errorf("stopped job %+v, %v", got, err)
	}
	b.move(j.ID, func(j *api.Job) { j.State, j.Reason = api.JobStopped, j.Stop })
	_, err = b.client.StopJob(b.ctx(), shop, j.ID)
	wantKind(t, err, api.Conflict, "has ended already: it is stopped")
	_, err = b.client.Job(b.ctx(), shop, "nothing")
	wantKind(t, err, api.NotFound, "no job nothing")
	if list, _ := b.client.Jobs(b.ctx(), shop, false); len(list.Jobs) != 1 {
		t.Errorf("ended jobs are listed: %+v", list)
	}
	if list, _ := b.client.Jobs(b.ctx(), shop, true); len(list.Jobs) != 2 {
		t.Errorf("not all jobs are listed: %+v", list)
	}

	for range api.MaxJobs - 1 {
		if _, err := b.client.RunJob(b.ctx(), shop, runs("true")); err != nil {
			t.Fatal(err)
		}
	}
	_, err = b.client.RunJob(b.ctx(), shop, runs("true"))
	wantKind(t, err, api.Exhausted, fmt.Sprint(api.MaxJobs))
	if _, err := b.client.Down(b.ctx(), shop); err != nil {
		t.Fatal(err)
	}
	_, err = b.client.RunJob(b.ctx(), shop, runs("true"))
	wantKind(t, err, api.Conflict, "is down")
}

func TestCronsAreListedAndTriggered(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ schedule, zone, field string }{
		{"* * *", "", "spec.services.web.cron.a.schedule"},
		{"0 0 30 2 *", "", "spec.services.web.cron.a.schedule"},
		{"@daily", "Moon", "spec.services.web.cron.a.timezone"},
	} {
		_, err := b.client.Deploy(b.ctx(), api.DeployRequest{Spec: spec(func(s *api.AppSpec) {
			web := s.Services["web"]
			web.Cron = map[string]api.CronSpec{"a": {Schedule: c.schedule, Timezone: c.zone, Command: api.Command{Command: []string{"x"}}}}
			s.Services["web"] = web
		})})
		wantKind(t, err, api.Invalid, c.field)
	}
	command := api.Command{Command: []string{"clean"}}
	b.crons(map[string]api.CronSpec{
		"daily":   {Schedule: "@daily", Command: command, Timezone: "Europe/Berlin"},
		"beside":  {Schedule: "0 0 1 1 *", Command: command, Concurrency: api.CronAllow},
		"hourly":  {Schedule: "@every 1h", Command: command},
		"instead": {Schedule: "0 0 1 1 *", Command: command, Concurrency: api.CronReplace},
	})
	list, err := b.client.Jobs(b.ctx(), shop, false)
	if err != nil || len(list.Crons) != 4 || list.Crons[1].Name != "daily" || list.Crons[1].Next.IsZero() || time.Until(list.Crons[1].Next) > 25*time.Hour {
		t.Fatalf("list %+v, %v", list, err)
	}
	ran := time.Now().UTC().Add(-20 * time.Minute).Truncate(time.Second)
	b.put(store.CronKey(&api.Cron{EnvRef: shop, Service: "web", Name: "hourly"}),
		api.Cron{EnvRef: shop, Service: "web", Name: "hourly", Schedule: "@every 1h", Since: ran})
	if list, err = b.client.Jobs(b.ctx(), shop, false); err != nil || !list.Crons[2].Next.Equal(ran.Add(time.Hour)) {
		t.Errorf("an hour after the run at %s comes %+v, %v", ran, list.Crons[2], err)
	}
	first, err := b.client.TriggerCron(b.ctx(), shop, "web", "daily")
	if err != nil || first.Kind != api.JobCron || first.Name != "daily" || first.Command.Command[0] != "clean" {
		t.Fatalf("job %+v, %v", first, err)
	}
	_, err = b.client.TriggerCron(b.ctx(), shop, "web", "daily")
	wantKind(t, err, api.Conflict, "web.daily runs already", first.ID)
	for range 2 {
		if _, err := b.client.TriggerCron(b.ctx(), shop, "web", "beside"); err != nil {
			t.Error(err)
		}
	}
	old, err := b.client.TriggerCron(b.ctx(), shop, "web", "instead")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.TriggerCron(b.ctx(), shop, "web", "instead"); err != nil || b.job(old.ID).Stop != "replaced by the next run" {
		t.Errorf("%v, job %+v", err, b.job(old.ID))
	}
	_, err = b.client.TriggerCron(b.ctx(), shop, "web", "never")
	wantKind(t, err, api.NotFound, "no cron never")
	_, err = b.client.TriggerCron(b.ctx(), shop, "wbe", "daily")
	wantKind(t, err, api.Invalid, "wbe")
	if list, _ := b.client.Jobs(b.ctx(), shop, false); list.Crons[1].Last == nil || list.Crons[1].Last.ID != first.ID {
		t.Errorf("the last run is not told: %+v", list.Crons[1])
	}
	if _, err := b.client.Down(b.ctx(), shop); err != nil {
		t.Fatal(err)
	}
	if list, _ := b.client.Jobs(b.ctx(), shop, false); !list.Crons[0].Suspended || !list.Crons[0].Next.IsZero() {
		t.Errorf("while down: %+v", list.Crons[0])
	}
}

func TestWatchJob(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	req := runs("true")
	req.Attached = true
	j, err := b.client.RunJob(b.ctx(), shop, req)
	if err != nil {
		t.Fatal(err)
	}
	until := b.job(j.ID).Until
	now := time.Now()
	b.tasks.mu.Lock()
	b.tasks.logs[j.ID] = []api.LogLine{
		{Time: now, Stream: "stdout", Text: "one"}, {Time: now, Stream: "stderr", Text: "two\xff", Partial: true}, {Time: now, Stream: "stdout", Text: ""},
	}
	b.tasks.mu.Unlock()
	var states []string
	var out, errs bytes.Buffer
	last, err := b.client.WatchJob(b.ctx(), shop, j.ID, true, func(e api.JobEvent) error {
		if e.Line != nil {
			w := &out
			if e.Line.Stream == "stderr" {
				w = &errs
			}
			w.Write(client.OutputOf(e))
			return nil
		}
		states = append(states, string(e.Job.State))
		switch e.Job.State {
		case api.JobPending:
			b.move(j.ID, func(j *api.Job) { j.State = api.JobRunning })
		case api.JobRunning:
			for end := time.Now().Add(time.Minute); !b.job(j.ID).Until.After(until); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("nobody says that the client is there")
				}
			}
			code := 4
			b.move(j.ID, func(j *api.Job) { j.State, j.ExitCode = api.JobFailed, &code })
		}
		return nil
	})
	if err != nil || last.State != api.JobFailed || *last.ExitCode != 4 {
		t.Errorf("ends with %+v, %v", last, err)
	}
	if got := strings.Join(states, " "); got != "pending running failed" {
		t.Errorf("states %s", got)
	}
	if out.String() != "one\n\n" || errs.String() != "two\xff" {
		t.Errorf("output %q, %q", out.String(), errs.String())
	}
	// One that has ended, without a log.
	k, err := b.client.RunJob(b.ctx(), shop, runs("true"))
	if err != nil {
		t.Fatal(err)
	}
	b.move(k.ID, func(j *api.Job) { j.State, j.Reason = api.JobFailed, "no node fits" })
	n := 0
	if last, err = b.client.WatchJob(b.ctx(), shop, k.ID, false, func(api.JobEvent) error { n++; return nil }); err != nil || n != 1 || last.Reason != "no node fits" {
		t.Errorf("%d events, the last %+v, %v", n, last, err)
	}
}

func TestTerminalJob(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	begin := func() string {
		t.Helper()
		req := runs("sh")
		req.Terminal = true
		j, err := b.client.RunJob(b.ctx(), shop, req)
		if err != nil || j.Until.IsZero() {
			t.Fatalf("job %+v, %v", j, err)
		}
		return j.ID
	}
	plain, err := b.client.RunJob(b.ctx(), shop, runs("true"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.client.Attach(b.ctx(), shop, plain.ID, api.ExecRequest{}, client.ExecStreams{})
	wantKind(t, err, api.Conflict, "has no terminal")

	id := begin()
	go func() {
		time.Sleep(50 * time.Millisecond)
		b.move(id, func(j *api.Job) { j.State = api.JobRunning })
	}()
	var out bytes.Buffer
	code, err := b.client.Attach(b.ctx(), shop, id, api.ExecRequest{}, client.ExecStreams{Stdin: strings.NewReader("held "), Stdout: &out})
	if err != nil || code != 9 || out.String() != "held back" {
		t.Errorf("code %d, %v, output %q", code, err, out.String())
	}
	if j := b.job(id); !j.Begun || j.Result == nil || j.Result.Code != 9 {
		t.Errorf("job %+v", j)
	}
	_, err = b.client.Attach(b.ctx(), shop, id, api.ExecRequest{}, client.ExecStreams{})
	wantKind(t, err, api.Conflict, "begun already")

	id = begin()
	b.move(id, func(j *api.Job) { j.State, j.Reason = api.JobFailed, "no node fits" })
	_, err = b.client.Attach(b.ctx(), shop, id, api.ExecRequest{}, client.ExecStreams{})
	wantKind(t, err, api.Conflict, "begun already")

	// Its client goes: the command is killed, and the job is to stop.
	id = begin()
	b.move(id, func(j *api.Job) { j.State = api.JobRunning })
	ctx, cancel := context.WithCancel(b.ctx())
	started := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := b.client.Attach(ctx, shop, id, api.ExecRequest{}, client.ExecStreams{Stdin: neverRead{}, Stdout: firstWrite{started}})
		done <- err
	}()
	<-started
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("attach ends with %v", err)
	}
	for end := time.Now().Add(time.Minute); b.job(id).Stop != "its client has gone"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("job %+v", b.job(id))
		}
	}
}

// neverRead is an input that gives a word, and then nothing for a while.
type neverRead struct{}

func (neverRead) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return copy(p, "x"), nil
}

func TestRestartRunsNoReleaseCommand(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	r, err := b.client.Restart(b.ctx(), shop, api.RestartRequest{})
	if err != nil || !r.Deployment.Restart || !get[api.Deployment](b, store.DeploymentKey(shop, r.Deployment.Number)).Restart {
		t.Errorf("deployment %+v, %v", r.Deployment, err)
	}
}
