package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/store"
)

var errEnough = errors.New("enough")

func TestWatchDeployment(t *testing.T) {
	b := newBench(t)
	b.deploy(api.DeployRequest{Spec: spec()})
	var seen []api.DeploymentState
	last, err := b.client.WatchDeployment(b.ctx(), shop, 1, func(d api.Deployment) error {
		seen = append(seen, d.State)
		switch d.State {
		case api.DeployQueued:
			b.finish(shop, 1, api.DeployRunning)
		case api.DeployRunning:
			b.finish(shop, 1, api.DeploySucceeded)
		}
		return nil
	})
	if err != nil || last.State != api.DeploySucceeded ||
		!slices.Equal(seen, []api.DeploymentState{api.DeployQueued, api.DeployRunning, api.DeploySucceeded}) {
		t.Errorf("seen %q, last %+v, %v", seen, last, err)
	}
	if last, err = b.client.WatchDeployment(b.ctx(), shop, 1, nil); err != nil || last.Number != 1 {
		t.Errorf("an ended one: %+v, %v", last, err)
	}
	_, err = b.client.WatchDeployment(b.ctx(), shop, 2, nil)
	wantKind(t, err, api.NotFound)
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:2"))})
	_, err = b.client.WatchDeployment(b.ctx(), shop, 2, func(api.Deployment) error {
		b.update(func(tx store.Tx) error { tx.Delete(store.DeploymentKey(shop, 2)); return nil })
		return nil
	})
	wantKind(t, err, api.NotFound, "was removed")
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:3"))})
	if _, err = b.client.WatchDeployment(b.ctx(), shop, 3, func(api.Deployment) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("the caller's own error: %v", err)
	}
}

// Who waits for the trial is told of all until that has ended, and of no more than the deployment where there is none.
func TestWatchTrial(t *testing.T) {
	b := newBench(t)
	b.deploy(api.DeployRequest{Spec: spec()})
	change := func(fn func(*api.Deployment)) {
		b.update(func(tx store.Tx) error {
			d, err := store.Get[api.Deployment](tx, store.DeploymentKey(shop, 1))
			if err != nil {
				return err
			}
			fn(d)
			return store.Put(tx, store.DeploymentKey(shop, 1), d)
		})
	}
	var seen []string
	last, err := b.client.WatchTrial(b.ctx(), shop, 1, func(d api.Deployment) error {
		seen = append(seen, fmt.Sprint(d.State, " ", d.Trial, " ", len(d.Verdicts)))
		switch {
		case !d.State.Final():
			change(func(d *api.Deployment) { d.State, d.Trial = api.DeploySucceeded, api.TrialOn })
		case len(d.Verdicts) == 0:
			change(func(d *api.Deployment) { d.Verdicts = []api.Verdict{{Service: "web"}} })
		case d.Trial == api.TrialOn:
			change(func(d *api.Deployment) { d.Trial = api.TrialVerified })
		}
		return nil
	})
	if want := "queued  0, succeeded on trial 0, succeeded on trial 1, succeeded verified 1"; err != nil || strings.Join(seen, ", ") != want {
		t.Errorf("seen %q, want %q; %v", seen, want, err)
	}
	if last.Trial != api.TrialVerified {
		t.Errorf("last is %+v", last)
	}
	change(func(d *api.Deployment) { d.Trial = "" })
	if last, err = b.client.WatchTrial(b.ctx(), shop, 1, nil); err != nil || last.Number != 1 {
		t.Errorf("one without a trial: %+v, %v", last, err)
	}
}

func TestEvents(t *testing.T) {
	b := newBench(t)
	b.deploy(api.DeployRequest{Spec: spec()})
	b.deploy(api.DeployRequest{Spec: spec(inEnv(api.EnvRef{App: "shop", Env: "staging"}, 1))})
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:2"))})
	var all []api.Event
	collect := func(q api.EventQuery) []api.Event {
		t.Helper()
		var list []api.Event
		if err := b.client.Events(b.ctx(), q, func(e api.Event) error { list = append(list, e); return nil }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	all = collect(api.EventQuery{})
	if len(all) != 4 || !slices.IsSortedFunc(all, func(a, b api.Event) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("events %+v", all)
	}
	if got := collect(api.EventQuery{App: "shop", Env: "staging"}); len(got) != 1 {
		t.Errorf("of staging: %+v", got)
	}
	if got := collect(api.EventQuery{After: all[2].ID}); len(got) != 1 || got[0].ID != all[3].ID {
		t.Errorf("after the third: %+v", got)
	}
	if got := collect(api.EventQuery{Limit: 2}); len(got) != 2 || got[0].ID != all[2].ID {
		t.Errorf("last two: %+v", got)
	}
	var followed []string
	err := b.client.Events(b.ctx(), api.EventQuery{Env: "production", Limit: 1, Follow: true}, func(e api.Event) error {
		followed = append(followed, e.Type)
		if len(followed) == 1 {
			b.deploy(api.DeployRequest{Spec: spec(inEnv(api.EnvRef{App: "shop", Env: "staging"}, 1), image("x:2"))})
			if _, err := b.client.CancelDeployment(b.ctx(), shop, 2); err != nil {
				t.Error(err)
			}
			return nil
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) || !slices.Equal(followed, []string{"deployment.queued", "deployment.cancelled"}) {
		t.Errorf("followed %q, %v", followed, err)
	}
	if status, _, text := b.send(http.MethodGet, "/api/v1/events?env=staging&limit=1", "", ""); status != 200 || !strings.HasPrefix(text, `[{"id":`) {
		t.Errorf("as JSON: %d %s", status, text)
	}
}

func at(seconds int, text string) api.LogLine {
	return api.LogLine{Time: time.Unix(int64(1_000_000+seconds), 0).UTC(), Stream: "stdout", Text: text}
}

func TestLogsAreMergedByTime(t *testing.T) {
	b := newBench(t)
	withTasks(b)
	b.tasks.logs["aaa111"] = []api.LogLine{at(1, "a1"), at(4, "a4"), at(5, "a5")}
	b.tasks.logs["aab222"] = []api.LogLine{at(2, "b2"), at(3, "b3"), at(6, "b6")}
	read := func(q api.LogRequest) string {
		t.Helper()
		var texts []string
		err := b.client.Logs(b.ctx(), shop, q, func(l api.LogLine) error {
			if l.Service != "web" || l.Task == "" || l.Slot == 0 {
				t.Errorf("line %+v does not say whose it is", l)
			}
			texts = append(texts, l.Text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(texts, " ")
	}
	for want, q := range map[string]api.LogRequest{
		"a1 b2 b3 a4 a5 b6": {Tail: -1},
		"a5 b6":             {Tail: 1},
		"a4 a5 b6":          {Tail: -1, Since: at(4, "").Time},
		"a1 a4 a5":          {Tail: -1, Task: "aaa"},
		"b6 ":               {Tail: 1, Service: "web", Task: "aab222"},
	} {
		if got := read(q); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %q, expected %q", q, got, want)
		}
	}
	wantKind(t, b.client.Logs(b.ctx(), shop, api.LogRequest{Service: "db"}, nil), api.Invalid, "service", "db", "web")
	wantKind(t, b.client.Logs(b.ctx(), shop, api.LogRequest{Task: "nope"}, nil), api.NotFound, "nope")
	wantKind(t, b.client.Logs(b.ctx(), shop, api.LogRequest{Task: "zzz999"}, nil), api.NotFound, "not of shop/production")
	wantKind(t, b.client.Logs(b.ctx(), api.EnvRef{App: "a", Env: "b"}, api.LogRequest{}, nil), api.NotFound)
}

func TestLogsFollowTasksThatStartLater(t *testing.T) {
	b := newBench(t)
	withTasks(b)
	live := make(chan api.LogLine, 1)
	b.tasks.logs["aaa111"] = []api.LogLine{at(1, "first")}
	b.tasks.logs["ddd444"] = []api.LogLine{at(9, "new task")}
	b.tasks.live = map[string]chan api.LogLine{"aaa111": live}
	var texts []string
	err := b.client.Logs(b.ctx(), shop, api.LogRequest{Tail: -1, Follow: true}, func(l api.LogLine) error {
		texts = append(texts, l.Text)
		switch l.Text {
		case "first":
			live <- at(2, "second")
		case "second":
			b.put(store.TaskKey("ddd444"), api.Task{ID: "ddd444", EnvRef: shop, Service: "web", Slot: 1})
		case "new task":
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || strings.Join(texts, ",") != "first,second,new task" {
		t.Errorf("lines %q, %v", texts, err)
	}
}

func TestExec(t *testing.T) {
	b := newBench(t)
	withTasks(b)
	run := func(command string, s client.ExecStreams, tty bool) (int, string, error) {
		var out bytes.Buffer
		s.Stdout, s.Stderr = &out, &out
		code, err := b.client.Exec(b.ctx(), api.ExecRequest{Task: "aaa111", Command: []string{command}, TTY: tty, Rows: 24, Cols: 80}, s)
		return code, out.String(), err
	}
	big := strings.Repeat("0123456789abcdef", 20_000)
	if code, out, err := run("cat", client.ExecStreams{Stdin: strings.NewReader(big)}, false); err != nil || code != 0 || out != big {
		t.Errorf("cat: %d, %d bytes of %d, %v", code, len(out), len(big), err)
	}
	if code, out, err := run("fail", client.ExecStreams{}, false); err != nil || code != 3 || out != "no such thing\n" {
		t.Errorf("fail: %d %q %v", code, out, err)
	}
	_, _, err := run("absent", client.ExecStreams{}, false)
	wantKind(t, err, api.NotFound, "no program absent")
	resize, signals := make(chan api.Winsize, 1), make(chan string, 1)
	resize <- api.Winsize{Rows: 50, Cols: 100}
	signals <- "SIGINT"
	if code, out, err := run("size", client.ExecStreams{Resize: resize, Signals: signals}, true); err != nil || code != 130 || out != "24x80\n50x100\nSIGINT\n" {
		t.Errorf("size: %d %q %v", code, out, err)
	}
	_, err = b.client.Exec(b.ctx(), api.ExecRequest{Task: "aaa111"}, client.ExecStreams{})
	wantKind(t, err, api.Invalid, "command", "a program and its arguments")
	_, err = b.client.Exec(b.ctx(), api.ExecRequest{Task: "nope", Command: []string{"cat"}}, client.ExecStreams{})
	wantKind(t, err, api.NotFound, "nope")
	_, err = b.client.Exec(b.ctx(), api.ExecRequest{Task: "ccc333", Command: []string{"cat"}}, client.ExecStreams{})
	wantKind(t, err, api.Conflict, "it is failed")
}

func TestExecEndsWithItsCaller(t *testing.T) {
	b := newBench(t)
	withTasks(b)
	ctx, cancel := context.WithCancel(b.ctx())
	done := b.asleep(ctx, b.client)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("exec: %v", err)
	}
	<-b.tasks.killed
}

func TestBuild(t *testing.T) {
	b := newBench(t)
	req := api.BuildRequest{EnvRef: shop, Service: "web", Session: "s1", Spec: api.BuildSpec{Context: "."}}
	var steps []string
	got, err := b.client.Build(b.ctx(), req, func(e api.BuildEvent) { steps = append(steps, e.Step) })
	if err != nil || got != "localhost/web"+digest || !slices.Equal(steps, []string{"FROM scratch", ""}) {
		t.Errorf("image %q, steps %q, %v", got, steps, err)
	}
	req.Spec.Target = "broken"
	_, err = b.client.Build(b.ctx(), req, nil)
	wantKind(t, err, api.Invalid, "RUN exited 1")
	req.Spec.Target = "forever"
	b.build.started = make(chan struct{})
	ctx, cancel := context.WithCancel(b.ctx())
	go func() {
		<-b.build.started
		cancel()
	}()
	if _, err = b.client.Build(ctx, req, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled build: %v", err)
	}
}

func TestBuildSession(t *testing.T) {
	b := newBench(t)
	conn, err := b.client.DialSession(b.ctx(), "h2c", map[string][]string{"X-Docker-Expose-Session-Uuid": {"u1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || line != "hello u1\n" {
		t.Fatalf("greeting %q, %v", line, err)
	}
	if _, err := fmt.Fprintln(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "echo ping\n" {
		t.Errorf("answer %q, %v", line, err)
	}
}

func TestFollowersSurviveARestartOfTheServer(t *testing.T) {
	b := newBench(t)
	b.deploy(api.DeployRequest{Spec: spec()})
	second := b.sibling()
	relay := newRelay(t, b.local.Listener.Addr().String())
	c, err := client.New("http://"+relay.Addr(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var seen []api.DeploymentState
	last, err := c.WatchDeployment(b.ctx(), shop, 1, func(d api.Deployment) error {
		seen = append(seen, d.State)
		if len(seen) == 1 {
			relay.Switch(second.Listener.Addr().String()) // cuts the connection
			b.finish(shop, 1, api.DeploySucceeded)
		}
		return nil
	})
	if err != nil || last.State != api.DeploySucceeded {
		t.Errorf("seen %q, last %+v, %v", seen, last, err)
	}
}
