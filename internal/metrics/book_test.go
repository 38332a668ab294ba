package metrics

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

var (
	shop  = api.EnvRef{App: "shop", Env: "production"}
	other = api.EnvRef{App: "blog", Env: "staging"}
)

// counted plays the balancer: each second of the last n has requests of two releases.
type counted struct {
	now  func() time.Time
	n    int
	asks int
}

func (c *counted) Points(_ context.Context, env api.EnvRef, by string, since time.Time) (out []Point, _ error) {
	c.asks++
	if env != shop {
		return nil, nil
	}
	now := c.now().Truncate(time.Second)
	for i := c.n; i >= 0; i-- {
		at := now.Add(-time.Duration(i) * time.Second)
		if at.Before(since.Truncate(time.Second)) {
			continue
		}
		if by == api.ByRoute {
			out = append(out, Point{Time: at, Service: "web", Route: `shop.example.com/"a"`, Requests: 30, Status: map[string]uint64{"2xx": 30}})
			continue
		}
		out = append(out,
			Point{Time: at, Service: "web", Release: 1, Requests: 20, Status: map[string]uint64{"2xx": 20}, Failed: map[string]uint64{}, In: 100,
				Waits: []Bucket{{Below: 20 * time.Millisecond, N: 20}}, InFlight: 3},
			Point{Time: at, Service: "web", Release: 2, Requests: 10, Status: map[string]uint64{"2xx": 5, "5xx": 5}, Failed: map[string]uint64{"answer": 5},
				Waits: []Bucket{{Below: 20 * time.Millisecond, N: 5}, {Below: 200 * time.Millisecond, N: 5}}, Retries: 1})
	}
	return out, nil
}

type world struct{ scenes []Scene }

func (w *world) Scenes() []Scene { return w.scenes }

func book(t *testing.T, n int) (*Book, *world, *time.Time) {
	t.Helper()
	now := time.Unix(1_000_000, 0)
	w := &world{[]Scene{{Environment: api.Environment{EnvRef: other}}, {Environment: api.Environment{EnvRef: shop, Release: 2}, Want: map[string]int{"web": 2}}}}
	b := New(Config{Version: api.Version{Version: "1.2", Node: "n1"}, World: w})
	b.began, b.now = now, func() time.Time { return now }
	b.requests = &counted{now: b.now, n: n}
	return b, w, &now
}

func page(t *testing.T, b *Book, seen func(api.EnvRef) bool) string {
	t.Helper()
	var s strings.Builder
	if err := b.Write(t.Context(), &s, seen); err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func everything(api.EnvRef) bool { return true }

func lacks(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(page, l+"\n") {
			t.Errorf("the page lacks %s", l)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

// TestPage holds that each second is counted once, from the start on, however often the page is asked for.
func TestPage(t *testing.T) {
	b, w, now := book(t, 300)
	_ = page(t, b, everything)
	for range 4 {
		*now = now.Add(2500 * time.Millisecond)
		_ = page(t, b, everything)
	}
	*now = now.Add(time.Second) // 11 s after the start, of which 8 are complete
	code := 1
	w.scenes[1].Tasks = []Task{
		{Task: api.Task{ID: "a", Service: "web", Release: 2, Desired: api.WantRunning}, Status: api.TaskStatus{State: api.TaskReady}},
		{Task: api.Task{ID: "b", Service: "web", Release: 1, Desired: api.WantWarm}, Status: api.TaskStatus{State: api.TaskReady}},
		{Task: api.Task{ID: "c", Service: "web", Release: 2}, Status: api.TaskStatus{State: api.TaskFailed, Cause: api.CauseOOM, ExitCode: &code, FinishedAt: *now}},
		{Task: api.Task{ID: "d", Service: "web", Release: 2}, Status: api.TaskStatus{State: api.TaskFailed, Cause: api.CauseExit, FinishedAt: b.began.Add(-time.Hour)}},
		{Task: api.Task{ID: "j", Service: "web", Job: &api.TaskJob{}}, Status: api.TaskStatus{State: api.TaskFailed, Cause: api.CauseExit, FinishedAt: *now}},
	}
	w.scenes[1].Deployments = []*api.Deployment{
		{Number: 1, Kind: api.KindDeploy, State: api.DeploySucceeded, EndedAt: b.began.Add(-time.Hour)},
		{Number: 2, Kind: api.KindDeploy, State: api.DeployRolledBack, EndedAt: *now},
		{Number: 3, Kind: api.KindDeploy, To: 2, State: api.DeployRunning, Checks: []api.CheckResult{
			{Owner: "web", Name: "smoke", Result: api.VerdictFail}, {Name: "page", Result: api.VerdictInsufficient}}},
	}
	text := page(t, b, everything)
	lacks(t, text,
		`ikada_build_info{version="1.2",node="n1"} 1`,
		"# TYPE ikada_request_wait_seconds histogram",
		`ikada_requests_total{app="shop",env="production",service="web",release="1",code="2xx"} 160`,
		`ikada_requests_total{app="shop",env="production",service="web",release="2",code="5xx"} 40`,
		`ikada_requests_failed_total{app="shop",env="production",service="web",release="2",kind="answer"} 40`,
		`ikada_request_wait_seconds_bucket{app="shop",env="production",service="web",release="2",le="0.023488103"} 40`,
		`ikada_request_wait_seconds_bucket{app="shop",env="production",service="web",release="2",le="+Inf"} 80`,
		`ikada_request_wait_seconds_count{app="shop",env="production",service="web",release="2"} 80`,
		`ikada_route_requests_total{app="shop",env="production",service="web",route="shop.example.com/\"a\"",code="2xx"} 240`,
		`ikada_requests_in_flight{app="shop",env="production",service="web",release="1"} 3`,
		`ikada_tasks{app="shop",env="production",service="web",release="1",state="warm"} 1`,
		`ikada_tasks_ready{app="shop",env="production",service="web"} 1`,
		`ikada_tasks_wanted{app="shop",env="production",service="web"} 2`,
		`ikada_task_failures_total{app="shop",env="production",service="web",release="2",cause="oom"} 1`,
		`ikada_task_failures_total{app="shop",env="production",service="web",release="2",cause="exit"} 0`,
		`ikada_deployments_total{app="shop",env="production",kind="deploy",outcome="rolled back"} 1`,
		`ikada_deployments_total{app="shop",env="production",kind="deploy",outcome="succeeded"} 0`,
		`ikada_deployment_running{app="shop",env="production"} 1`,
		`ikada_check_passing{app="shop",env="production",service="web",release="2",check="smoke"} 0`)
	w.scenes[1].Deployments[2].State, w.scenes[1].Deployments[2].EndedAt = api.DeploySucceeded, *now
	w.scenes[1].Deployments = w.scenes[1].Deployments[1:]
	text = page(t, b, everything)
	lacks(t, text,
		`ikada_deployments_total{app="shop",env="production",kind="deploy",outcome="succeeded"} 1`,
		`ikada_deployments_total{app="shop",env="production",kind="deploy",outcome="rolled back"} 1`,
		`ikada_task_failures_total{app="shop",env="production",service="web",release="2",cause="oom"} 1`)
	if text := page(t, b, func(ref api.EnvRef) bool { return ref == other }); strings.Contains(text, "shop") || !strings.Contains(text, "blog") {
		t.Errorf("the page shows what may not be seen:\n%s", text)
	}
}

// TestPageIsBounded holds that releases of long ago go.
func TestPageIsBounded(t *testing.T) {
	b, w, now := book(t, 300)
	_ = page(t, b, everything)
	*now = now.Add(10 * time.Second)
	if text := page(t, b, everything); !strings.Contains(text, `release="1"`) {
		t.Fatal("nothing is counted")
	}
	b.requests = &counted{now: b.now}
	w.scenes[1].Release = 100
	b.requests.(*counted).n = -1
	if text := page(t, b, everything); strings.Contains(text, `release="1"`) || strings.Contains(text, `release="2"`) {
		t.Errorf("releases 1 and 2 are kept beside release 100")
	}
}

// TestBoundsAreEdges holds that a wait counts in the bucket whose bound it is below.
func TestBoundsAreEdges(t *testing.T) {
	for i := 1; i < len(bounds); i++ {
		if bounds[i] <= bounds[i-1] {
			t.Fatalf("%s after %s", bounds[i], bounds[i-1])
		}
	}
	if len(bounds) != 38 || bounds[0] != 1<<18 || bounds[37] > 100*time.Second {
		t.Errorf("%d bounds from %s to %s", len(bounds), bounds[0], bounds[37])
	}
}

func TestQueries(t *testing.T) {
	b, w, now := book(t, 300)
	*now = now.Add(500 * time.Millisecond)
	w.scenes[1].Tasks = []Task{{Task: api.Task{ID: "a", Service: "web", Release: 2, Desired: api.WantRunning}, Status: api.TaskStatus{State: api.TaskReady}}}
	for _, c := range []struct {
		query string
		want  []float64
	}{
		{`sum(rate(ikada_requests_total{release="2"}[1m]))`, []float64{10}},
		{`sum(rate(ikada_requests_total{release="2",code="5xx"}[30s])) / sum(rate(ikada_requests_total{release="2"}[30s]))`, []float64{0.5}},
		{`sum(rate(ikada_requests_total{release="1",code="5xx"}[1m])) / sum(rate(ikada_requests_total{release="1"}[1m]))`, []float64{0}},
		{`sum(increase(ikada_route_requests_total{code="2xx"}[2m]))`, []float64{3600}},
		{`histogram_quantile(0.25, rate(ikada_request_wait_seconds_bucket{release="2"}[1m])) > bool 0.03`, []float64{0}},
		{`histogram_quantile(0.9, rate(ikada_request_wait_seconds_bucket{release="2"}[1m])) > bool 0.15`, []float64{1}},
		{`ikada_tasks_ready / ikada_tasks_wanted`, []float64{0.5}},
		{`max_over_time(sum(rate(ikada_requests_total[30s]))[1m:10s])`, []float64{30}},
		{`ikada_requests_total{service="none"}`, nil},
		{`sum(rate(ikada_requests_total{release="9"}[1m])) / 0`, nil},
		{`0 / 0`, []float64{math.NaN()}},
		{`ikada_release{app="blog"}`, nil}, // another environment's are not seen
	} {
		got, err := b.Values(t.Context(), shop, c.query)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s gives %v, %v; wanted %v", c.query, got, err, c.want)
			continue
		}
		for i := range got {
			if math.Abs(got[i]-c.want[i]) > 0.01*math.Abs(c.want[i]) || math.IsNaN(got[i]) != math.IsNaN(c.want[i]) {
				t.Errorf("%s gives %v, wanted %v", c.query, got, c.want)
			}
		}
	}
	for _, query := range []string{"rate(", `up[5m]`, `"text"`, "foo(1)"} {
		if got, err := b.Values(t.Context(), shop, query); err == nil {
			t.Errorf("%s gives %v", query, got)
		}
	}
	for query, good := range map[string]bool{
		"up": true, "rate(x[9m])": true, "rate(x[10m])": false, "x offset 20m": false, "max_over_time(rate(x[5m])[5m:])": false, "x{": false,
	} {
		if err := b.CheckQuery(query); (err == nil) != good || err != nil && !api.IsKind(err, api.Invalid) {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// BenchmarkQuery is a ratio over five minutes of two releases.
func BenchmarkQuery(b *testing.B) {
	now := time.Unix(1_000_000, 0)
	k := New(Config{World: &world{}})
	k.now = func() time.Time { return now }
	k.requests = &counted{now: k.now, n: 320}
	b.ReportAllocs()
	for b.Loop() {
		if v, err := k.Values(b.Context(), shop, `histogram_quantile(0.9, sum by (le) (rate(ikada_request_wait_seconds_bucket{release="2"}[5m])))`); err != nil || len(v) != 1 {
			b.Fatal(v, err)
		}
	}
}
