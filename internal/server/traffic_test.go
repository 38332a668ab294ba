package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// fakeTraffic is a balancer that tells the same whatever it is asked, and remembers the last question.
type fakeTraffic struct {
	env      api.EnvRef
	traffic  api.TrafficQuery
	failures api.FailureQuery
	err      error
}

func (f *fakeTraffic) Traffic(_ context.Context, env api.EnvRef, q api.TrafficQuery) (api.Traffic, error) {
	f.env, f.traffic = env, q
	return api.Traffic{EnvRef: env, By: q.By, Rows: []api.TrafficRow{
		{Service: "web", Task: "aaa111", TrafficCounts: api.TrafficCounts{Requests: 3, Status: map[string]uint64{"2xx": 3}}},
		{Service: "web", Task: api.GoneTasks}, {Service: "web"},
	}}, f.err
}

func (f *fakeTraffic) Failures(_ context.Context, env api.EnvRef, q api.FailureQuery) ([]api.Failure, error) {
	f.env, f.failures = env, q
	return []api.Failure{{Time: noon, Task: "aaa111", Step: "connect"}, {Time: ago(1), Task: "gone", Step: "connect"}}, f.err
}

func TestTraffic(t *testing.T) {
	b := newBench(t)
	withTasks(b)
	got, err := b.client.Traffic(b.ctx(), shop, api.TrafficQuery{})
	if err != nil || b.seen.env != shop || b.seen.traffic != (api.TrafficQuery{Since: api.Duration(time.Minute), By: api.ByService}) {
		t.Fatalf("asked for %+v of %s, %v", b.seen.traffic, b.seen.env, err)
	}
	if got.Node != "n1" || len(got.Rows) != 3 || got.Rows[0].Slot != 3 || got.Rows[0].Status["2xx"] != 3 || got.Rows[1].Slot != 0 || got.Rows[2].Slot != 0 {
		t.Errorf("%+v", got)
	}
	q := api.TrafficQuery{Since: api.Duration(10 * time.Minute), By: api.ByRoute, Points: true}
	if _, err := b.client.Traffic(b.ctx(), shop, q); err != nil || b.seen.traffic != q {
		t.Errorf("asked for %+v, %v", b.seen.traffic, err)
	}
	for _, c := range []struct{ query, field string }{
		{"since=0s", "since"}, {"since=11m", "since"}, {"since=-1s", "since"}, {"since=soon", "since"}, {"since=60", "since"},
		{"by=colour", "by"}, {"points=perhaps", "points"}, {"colour=red", "colour"},
	} {
		status, p, text := b.send(http.MethodGet, "/api/v1/apps/shop/envs/production/traffic?"+c.query, "", "")
		if status != http.StatusUnprocessableEntity || p.Field != c.field {
			t.Errorf("%s: %d %s", c.query, status, text)
		}
	}
	_, err = b.client.Traffic(b.ctx(), api.EnvRef{App: "shop", Env: "nowhere"}, q)
	wantKind(t, err, api.NotFound, "nowhere")
	b.seen.err = api.Errorf(api.Unavailable, "ask the balancer: refused")
	_, err = b.client.Traffic(b.ctx(), shop, q)
	wantKind(t, err, api.Unavailable, "balancer")
}

func TestFailures(t *testing.T) {
	b := newBench(t)
	withTasks(b)
	got, err := b.client.Failures(b.ctx(), shop, api.FailureQuery{})
	if err != nil || b.seen.failures != (api.FailureQuery{Last: 50}) {
		t.Fatalf("asked for %+v, %v", b.seen.failures, err)
	}
	if len(got) != 2 || got[0].Slot != 3 || got[1].Slot != 0 || !got[0].Time.Equal(noon) {
		t.Errorf("%+v", got)
	}
	q := api.FailureQuery{Last: api.MaxFailures, Since: noon.Add(123456789)}
	if _, err := b.client.Failures(b.ctx(), shop, q); err != nil || b.seen.failures.Last != q.Last || !b.seen.failures.Since.Equal(q.Since) {
		t.Errorf("asked for %+v, %v", b.seen.failures, err)
	}
	for _, query := range []string{"n=0", "n=-1", "n=1001", "n=many", "since=yesterday"} {
		status, p, text := b.send(http.MethodGet, "/api/v1/apps/shop/envs/production/failures?"+query, "", "")
		if status != http.StatusUnprocessableEntity || p.Field == "" {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	_, err = b.client.Failures(b.ctx(), api.EnvRef{App: "shop", Env: "nowhere"}, q)
	wantKind(t, err, api.NotFound, "nowhere")

	c := b.bare()
	_, err = c.Failures(b.ctx(), shop, q)
	wantKind(t, err, api.Unavailable, "balancer")
	_, err = c.Traffic(b.ctx(), shop, api.TrafficQuery{})
	wantKind(t, err, api.Unavailable, "balancer")
}
