package server_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/server"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// ago gives the time some seconds before noon.
func ago(seconds int) time.Time { return noon.Add(-time.Duration(seconds) * time.Second) }

// task makes a task of service web in a slot, with its status.
func task(slot int, state api.TaskState, change ...func(*api.TaskView)) api.TaskView {
	t := api.TaskView{
		Task: api.Task{ID: "t" + string(rune('0'+slot)), EnvRef: shop, Service: "web", Slot: slot, Release: 1, Node: "n1",
			Desired: api.WantRunning, CreatedAt: ago(60)},
		Status: api.TaskStatus{State: state},
	}
	if state == api.TaskPending {
		t.Node, t.Status.State = "", ""
	}
	for _, c := range change {
		c(&t)
	}
	return t
}

// failed makes a failed task that ran over seconds and ended at the given time before noon.
func failed(slot, attempt int, cause api.Cause, exit *int, from, to int) api.TaskView {
	return task(slot, api.TaskFailed, func(t *api.TaskView) {
		t.ID += "-" + string(rune('0'+attempt))
		t.Attempt, t.CreatedAt = attempt, ago(from+1)
		t.Status.Cause, t.Status.ExitCode = cause, exit
		t.Status.StartedAt, t.Status.FinishedAt = ago(from), ago(to)
	})
}

// retry makes the pending successor of failures.
func retry(slot, attempt, wait int) api.TaskView {
	return task(slot, api.TaskPending, func(t *api.TaskView) {
		t.ID += "-next"
		t.Attempt, t.CreatedAt, t.NotBefore = attempt, ago(0), noon.Add(time.Duration(wait)*time.Second)
	})
}

func saying(message string) func(*api.TaskView) {
	return func(t *api.TaskView) { t.Status.Message = message }
}

func TestServiceStatus(t *testing.T) {
	loop := []api.TaskView{
		failed(1, 0, api.CauseExit, new(1), 48, 40), failed(1, 1, api.CauseExit, new(1), 38, 30),
		failed(1, 2, api.CauseExit, new(1), 28, 20), failed(1, 3, api.CauseExit, new(1), 18, 8), retry(1, 4, 8),
	}
	for _, c := range []struct {
		name    string
		change  func(*server.World)
		tasks   []api.TaskView
		state   string
		problem string
	}{
		{"all ready", nil, []api.TaskView{task(1, api.TaskReady), task(2, api.TaskReady)}, api.HealthOK, ""},
		{"one of two", nil, []api.TaskView{task(1, api.TaskReady), task(2, api.TaskStarting)}, api.HealthDegraded, "starting, not ready yet"},
		{"pulling", nil, []api.TaskView{task(1, api.TaskPulling, saying("12 of 40 MiB")), task(2, api.TaskPulling, saying("12 of 40 MiB"))},
			api.HealthDown, "2 tasks: pulling: 12 of 40 MiB"},
		{"a draining task is not ready", nil, []api.TaskView{task(1, api.TaskReady), task(2, api.TaskReady, func(t *api.TaskView) { t.Desired = api.WantDraining })},
			api.HealthDegraded, ""},
		{"crash loop", nil, loop, api.HealthDown, "crash loop: exited with code 1, four times in 40 s, next start in 8 s"},
		{"crash loop with last words", func(w *server.World) { w.LastWords = map[string]string{"t1-3": "no database"} }, loop,
			api.HealthDown, "crash loop: exited with code 1, four times in 40 s, next start in 8 s; last output: no database"},
		{"crash loop whose beginning was forgotten", nil, loop[2:], api.HealthDown, "crash loop: exited with code 1, four times, next start in 8 s"},
		{"crashed once and recovered", nil, []api.TaskView{failed(1, 0, api.CauseExit, new(1), 20, 10),
			task(1, api.TaskReady, func(t *api.TaskView) { t.Attempt, t.CreatedAt = 1, ago(9) }), task(2, api.TaskReady)}, api.HealthOK, ""},
		{"crashed once, starting again", nil, []api.TaskView{failed(1, 0, api.CauseExit, new(139), 20, 10),
			task(1, api.TaskStarting, func(t *api.TaskView) { t.Attempt, t.CreatedAt = 1, ago(9) }), task(2, api.TaskReady)},
			api.HealthDegraded, "killed by SIGSEGV (exit code 139), starting again"},
		{"exit code not learnt", nil, []api.TaskView{failed(1, 0, api.CauseExit, nil, 20, 10)}, api.HealthDown, "exited, its code could not be learnt"},
		{"killed for memory", memory(64 << 20), []api.TaskView{failed(1, 0, api.CauseOOM, new(137), 20, 10), retry(1, 1, 1)},
			api.HealthDown, "killed for memory: limit 64 MiB, next start in 1 s"},
		{"killed for memory again and again", memory(1536 << 20), []api.TaskView{failed(1, 0, api.CauseOOM, new(137), 20, 15), failed(1, 1, api.CauseOOM, new(137), 14, 10)},
			api.HealthDown, "crash loop: killed for memory: limit 1.5 GiB, twice in 10 s"},
		{"killed for memory without limit", nil, []api.TaskView{failed(1, 0, api.CauseOOM, new(137), 20, 10)},
			api.HealthDown, "killed for memory: the node has none left"},
		{"image cannot be pulled", nil, []api.TaskView{
			func() api.TaskView {
				f := failed(1, 1, api.CausePull, nil, 20, 10)
				f.Status.Message = "manifest unknown"
				return f
			}(), retry(1, 2, 30)},
			api.HealthDown, "image web:1@sha256:1 cannot be pulled: manifest unknown, twice, next start in 30 s"},
		{"never healthy", nil, []api.TaskView{func() api.TaskView {
			f := failed(1, 0, api.CauseUnhealthy, nil, 90, 10)
			f.Status.Message = "GET /up: status 500"
			return f
		}()}, api.HealthDown, "never became healthy: GET /up: status 500"},
		{"unhealthy", nil, []api.TaskView{task(1, api.TaskReady), task(2, api.TaskReady, saying("GET /up: connection refused"), func(t *api.TaskView) { t.Status.Unhealthy = true })},
			api.HealthDegraded, "unhealthy: GET /up: connection refused"},
		{"pending with a reason", nil, []api.TaskView{task(1, api.TaskPending, because("No node fits: 2 lack memory, 1 is draining")), task(2, api.TaskPending, because("No node fits: 2 lack memory, 1 is draining"))},
			api.HealthDown, "2 tasks: pending: No node fits: 2 lack memory, 1 is draining"},
		{"node lost", func(w *server.World) { w.Nodes = []api.Node{{Name: "n1", Down: true}} }, []api.TaskView{task(1, api.TaskUnknown), task(2, api.TaskUnknown)},
			api.HealthDown, "2 tasks: node n1 is not heard from; what becomes of its tasks is unknown"},
		{"listener cannot be opened", func(w *server.World) {
			w.Balancers = []api.BalancerStatus{{Node: "n1", Problem: map[string]string{"0.0.0.0:18080": "address already in use"}}}
		}, []api.TaskView{task(1, api.TaskReady), task(2, api.TaskReady)}, api.HealthDegraded, "port 18080 cannot be opened on node n1: address already in use"},
		{"another port's listener", func(w *server.World) {
			w.Balancers = []api.BalancerStatus{{Node: "n1", Problem: map[string]string{"0.0.0.0:1808": "in use", "127.0.0.1:18080": "in use"}}}
		}, []api.TaskView{task(1, api.TaskReady), task(2, api.TaskReady)}, api.HealthOK, ""},
		{"scaled to zero", func(w *server.World) { w.Env.Scale = map[string]int{"web": 0} }, nil, api.HealthStopped, ""},
		{"taken down, one left", func(w *server.World) { w.Env.Stopped = true }, []api.TaskView{task(1, api.TaskStopping)}, api.HealthStopped, "1 task still to stop"},
		{"scaled up by hand", func(w *server.World) { w.Env.Scale = map[string]int{"web": 3} }, []api.TaskView{task(1, api.TaskReady), task(2, api.TaskReady)}, api.HealthDegraded, ""},
		{"queued", func(w *server.World) { w.Deployment = &api.Deployment{Number: 4, State: api.DeployQueued} }, nil, api.HealthDown, "deployment 4 is queued"},
		{"nothing made", nil, nil, api.HealthDown, "no task has been made yet"},
		{"ran to its end", toEnd, []api.TaskView{ended(1, 0), ended(2, 0)}, api.HealthCompleted, ""},
		{"one still runs", toEnd, []api.TaskView{ended(1, 0), task(2, api.TaskRunning)}, api.HealthDown, "running, not ready yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &server.World{
				Env: api.Environment{EnvRef: shop, Release: 1}, Tasks: c.tasks, Now: noon,
				Release: &api.Release{Number: 1, Spec: api.AppSpec{Services: map[string]api.ServiceSpec{
					"web": {Image: "web:1@sha256:1", Replicas: 2, Ports: []api.PortSpec{{Published: 18080, Target: 8080}}},
				}}},
			}
			if c.change != nil {
				c.change(w)
			}
			got := server.Summarize(w)
			if len(got.Services) != 1 {
				t.Fatalf("services %+v", got.Services)
			}
			if s := got.Services[0]; s.State != c.state || s.Problem != c.problem || got.State != c.state {
				t.Errorf("state %q (environment %q), problem %q\nexpected %q, %q", s.State, got.State, s.Problem, c.state, c.problem)
			}
		})
	}
}

func memory(limit int64) func(*server.World) {
	return func(w *server.World) {
		web := w.Release.Spec.Services["web"]
		web.Resources.MemoryBytes = limit
		w.Release.Spec.Services["web"] = web
	}
}

func toEnd(w *server.World) {
	web := w.Release.Spec.Services["web"]
	web.Restart.Condition = api.RestartNone
	w.Release.Spec.Services["web"] = web
}

func ended(slot, exit int) api.TaskView {
	return task(slot, api.TaskStopped, func(t *api.TaskView) { t.Status.ExitCode = new(exit) })
}

func because(reason string) func(*api.TaskView) { return func(t *api.TaskView) { t.Reason = reason } }

func TestEnvironmentState(t *testing.T) {
	spec := func(replicas int) api.ServiceSpec { return api.ServiceSpec{Image: "i", Replicas: replicas} }
	ready := func(service string) api.TaskView {
		return task(1, api.TaskReady, func(t *api.TaskView) { t.Service = service })
	}
	for _, c := range []struct {
		name     string
		services map[string]api.ServiceSpec
		tasks    []api.TaskView
		want     string
	}{
		{"nothing", nil, nil, api.HealthStopped},
		{"all well", map[string]api.ServiceSpec{"a": spec(1), "b": spec(1)}, []api.TaskView{ready("a"), ready("b")}, api.HealthOK},
		{"one down", map[string]api.ServiceSpec{"a": spec(1), "b": spec(1)}, []api.TaskView{ready("a")}, api.HealthDegraded},
		{"all down", map[string]api.ServiceSpec{"a": spec(1), "b": spec(1)}, nil, api.HealthDown},
		{"one stopped, one down", map[string]api.ServiceSpec{"a": spec(0), "b": spec(1)}, nil, api.HealthDown},
		{"one stopped, one well", map[string]api.ServiceSpec{"a": spec(0), "b": spec(1)}, []api.TaskView{ready("b")}, api.HealthOK},
		{"all stopped", map[string]api.ServiceSpec{"a": spec(0)}, nil, api.HealthStopped},
		{"a service that leaves", map[string]api.ServiceSpec{"a": spec(1)}, []api.TaskView{ready("a"), ready("old")}, api.HealthOK},
	} {
		w := &server.World{Env: api.Environment{EnvRef: shop}, Tasks: c.tasks, Now: noon, Release: &api.Release{Spec: api.AppSpec{Services: c.services}}}
		if got := server.Summarize(w); got.State != c.want {
			t.Errorf("%s: %q, expected %q", c.name, got.State, c.want)
		}
	}
}

// What ails a node is said of every app, until the node is down, which is worse.
func TestNodeProblems(t *testing.T) {
	w := &server.World{Env: api.Environment{EnvRef: shop}, Now: noon, Nodes: []api.Node{
		{Name: "n1", Problems: []string{"no disk space is left", "names are not answered"}},
		{Name: "n2", Problems: []string{"gone"}, Down: true}, {Name: "n3"},
	}}
	want := []string{"n1: no disk space is left", "n1: names are not answered"}
	if got := server.Summarize(w).Problems; !slices.Equal(got, want) {
		t.Errorf("problems %q, want %q", got, want)
	}
}

func TestServiceReach(t *testing.T) {
	w := &server.World{Env: api.Environment{EnvRef: shop}, Now: noon, Tasks: []api.TaskView{
		task(1, api.TaskReady), task(2, api.TaskReady, func(t *api.TaskView) { t.Release = 2 }), task(3, api.TaskFailed),
	}, Release: &api.Release{Spec: api.AppSpec{Services: map[string]api.ServiceSpec{"web": {
		Image: "i", Replicas: 1,
		Ports: []api.PortSpec{{Published: 80, Target: 8080}, {HostIP: "::1", Published: 81, Target: 8081}, {Target: 9}},
		Routes: []api.RouteSpec{
			{Host: "example.com", Path: "/api"}, {},
			{Host: "a.com", RoutePolicy: api.RoutePolicy{
				Redirect: &api.Redirect{Scheme: "https"}, Sticky: &api.Sticky{}, RateLimit: &api.RateLimit{Requests: 100, Per: api.Duration(time.Minute)},
				BasicAuth: map[string]string{"ann": "$2y$"}, Compress: true, MaxBody: 10 << 20, Timeout: api.Duration(time.Minute), IdleTimeout: api.Duration(90 * time.Second),
			}},
			{Host: "a.com", Path: "/x", RoutePolicy: api.RoutePolicy{Methods: []string{"GET", "HEAD"}, Headers: map[string]string{"X-B": "2", "X-A": "*"}, Rewrite: "/"}},
			{Host: "b.com", RoutePolicy: api.RoutePolicy{Redirect: &api.Redirect{Scheme: "https", Host: "a.com", Path: "/b"}, RateLimit: &api.RateLimit{Requests: 5, Per: api.Duration(10 * time.Second)}}},
			{Host: "c.com", RoutePolicy: api.RoutePolicy{Maintenance: &api.Maintenance{}, Redirect: &api.Redirect{Host: "a.com"}, Rewrite: "/c", RateLimit: &api.RateLimit{Requests: 1}}},
			{Host: "d.com", RoutePolicy: api.RoutePolicy{Redirect: &api.Redirect{Path: "/new"}}},
		},
	}}}}}
	s := server.Summarize(w).Services[0]
	if len(s.Ports) != 2 || s.Ports[0] != "0.0.0.0:80→8080" || s.Ports[1] != "[::1]:81→8081" {
		t.Errorf("ports %q", s.Ports)
	}
	if want := []string{
		"example.com/api", "*/",
		"a.com/ (redirect to https, auth, 100/m, sticky, compress, body 10 MiB, timeout 1m, idle 1m30s)",
		"a.com/x (GET HEAD, X-A: *, X-B: 2, strip)",
		"b.com/ (redirect to https://a.com/b, 5/10s)",
		"c.com/ (maintenance, redirect to a.com, rewrite to /c, 1/s)",
		"d.com/ (redirect to /new)",
	}; !slices.Equal(s.Routes, want) {
		t.Errorf("routes %q", s.Routes)
	}
	if s.Live != 2 || s.Ready != 2 || len(s.Releases) != 2 {
		t.Errorf("%+v", s)
	}
}
