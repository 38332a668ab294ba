package cli

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// traffic is what the fake's balancer has counted within a minute.
func traffic() api.Traffic {
	web := api.TrafficCounts{
		Requests: 74_061, Failed: 5, Aborted: 1, Retries: 12, In: 6 << 20, Out: 600 << 20, InFlight: 14,
		Status: map[string]uint64{"2xx": 74_000, "4xx": 56, "5xx": 5}, Failures: map[string]uint64{"timeout": 2, "refused": 1},
		Waits: api.Waits{P50: api.Duration(1234 * time.Microsecond), P90: api.Duration(4 * time.Millisecond),
			P99: api.Duration(20 * time.Millisecond), Max: api.Duration(2 * time.Second)},
	}
	db := api.TrafficCounts{Requests: 30, Status: map[string]uint64{"none": 30}, Held: 2, InFlight: 2}
	total := web
	total.Requests, total.Held, total.InFlight = web.Requests+db.Requests, 2, 16
	return api.Traffic{
		EnvRef: shop, Node: "n1", From: ago(time.Minute), Until: noon, By: api.ByService,
		Total: api.TrafficRow{Rate: 1234.85, TrafficCounts: total},
		Rows: []api.TrafficRow{
			{Service: "db", Rate: 0.5, TrafficCounts: db}, {Service: "web", Rate: 1234.35, TrafficCounts: web},
		},
	}
}

// failures are what it can explain, newest first.
func failures() []api.Failure {
	return []api.Failure{
		{Time: ago(time.Second), ID: "1a2b-7", Method: "GET", Host: "example.com", Path: "/a\x1b[2Jb", Service: "web", Release: 4, Task: "aaaa1111bbbb2222", Slot: 1,
			Step: "get an answer", Kind: "timeout", Error: "i/o timeout", Status: 504, Waited: api.Duration(3 * time.Second)},
		{Time: ago(2 * time.Second), Service: "db", Route: "0.0.0.0:5432", Step: "find a target", Kind: "no target", Error: "no task is ready", Waited: api.Duration(30 * time.Second)},
		{Time: ago(time.Hour), ID: "1a2b-6", Method: "POST", Host: "example.com", Path: "/", Service: "web", Release: 3, Task: "ffff1111bbbb2222",
			Step: "connect", Kind: "refused", Error: "no task accepts connections: connection refused", Status: 503, Waited: api.Duration(30 * time.Second), Retries: 2},
		{Time: ago(2 * time.Hour), Method: "GET", Host: "example.com", Path: "/", Step: "find a target", Kind: "no target", Error: "the balancer has no routes yet", Status: 503},
	}
}

func TestTrafficNames(t *testing.T) {
	s := newShell(Options{Stdout: &strings.Builder{}})
	for by, want := range map[string][]string{
		api.ByRelease: {"SERVICE  RELEASE  REQ/S", "web      4        ", "web      -        ", "total             "},
		api.ByTask:    {"TASK                      RELEASE  REQ/S", "web.2                     4        ", "web aaaa1111bbbb          4 ", "web, gone                 4 ", "web, no task              - "},
		api.ByRoute:   {"SERVICE  ROUTE             REQ/S", "web      example.com/api   "},
	} {
		got := api.Traffic{EnvRef: shop, By: by, From: ago(time.Second), Until: noon}
		for _, row := range []api.TrafficRow{
			{Release: 4, Task: "bbbb1111bbbb2222", Slot: 2}, {Release: 4, Task: "aaaa1111bbbb2222"}, {Release: 4, Task: api.GoneTasks}, {},
		} {
			row.Service, row.Route = "web", "example.com/api"
			got.Rows = append(got.Rows, row)
		}
		text := strings.Join(s.trafficLines(got), "\n")
		for _, part := range want {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(part), " ")) {
				t.Errorf("by %s: no %q in\n%s", by, part, text)
			}
		}
	}
	if lines := s.trafficLines(api.Traffic{EnvRef: shop, Node: "n1", From: ago(10 * time.Second), Until: noon}); len(lines) != 1 ||
		lines[0] != "shop/production on n1 in the last 10s: 0 requests, 0 failed" {
		t.Errorf("without requests: %q", lines)
	}
}

// TestTopIsDrawnAgain lets the live view go through an absence of the server.
func TestTopIsDrawnAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := newShell(Options{Stdout: &out})
		answers := []error{nil, api.Errorf(api.Unavailable, "reach ikada: refused"), nil}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began, asked := time.Now(), 0
		err := s.watchTraffic(ctx, func(context.Context) (api.Traffic, error) {
			if asked == len(answers) {
				cancel()
				return api.Traffic{}, ctx.Err()
			}
			asked++
			return traffic(), answers[asked-1]
		})
		if err != nil || time.Since(began) != 3*topPause {
			t.Errorf("ended after %s with %v", time.Since(began), err)
		}
		if strings.Count(out.String(), "SERVICE") != 3 || strings.Count(out.String(), "reach ikada: refused") != 1 {
			t.Errorf("drew %q", out.String())
		}
		want := api.Errorf(api.NotFound, "no such environment")
		for _, err := range []error{want, api.Errorf(api.Unavailable, "reach ikada: refused")} {
			if got := s.watchTraffic(t.Context(), func(context.Context) (api.Traffic, error) { return api.Traffic{}, err }); got != err { //nolint:errorlint // the very one
				t.Errorf("%v ended it with %v", err, got)
			}
		}
	})
}

func TestFollowingFailures(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.mux.HandleFunc("GET "+client.Prefix+"/apps/shop/envs/production/failures", func(w http.ResponseWriter, r *http.Request) {
		f.note(r)
		switch len(f.requests()) {
		case 1:
			answer(w, failures()[2:])
		case 2:
			answer(w, failures()[:3])
		default:
			cancel() // as Ctrl-C
		}
	})
	r := f.ikada(ctx, directory(t, "elsewhere", nil), "", "failures", "-f", "-a", "shop", "-n", "2")
	var times []string
	for line := range strings.Lines(r.out) {
		times = append(times, line[:len(time.DateTime)])
	}
	if want := []string{"2026-11-22 10:00:00", "2026-11-22 11:00:00", "2026-11-22 11:59:58", "2026-11-22 11:59:59"}; r.code != ExitDone || !slices.Equal(times, want) {
		t.Errorf("exit %d, %s%s", r.code, r.out, r.err)
	}
	if all := f.requests(); all[0] != "GET /apps/shop/envs/production/failures?n=2" ||
		all[1] != "GET /apps/shop/envs/production/failures?n=1000&since=2026-11-22T10%3A59%3A55Z" {
		t.Errorf("asked %v", all)
	}
}
