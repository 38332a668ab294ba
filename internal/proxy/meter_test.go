package proxy

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
)

func TestWindowCountsWhatEndsInIt(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		status, _ := strconv.Atoi(in.URL.Path[1:])
		w.WriteHeader(status)
	})))
	c := client(t)
	ask := func(status string, n int) {
		t.Helper()
		before := r.Meter(testEnv).Requests
		for range n {
			if s, _, err := get(c, r.url+"/"+status); err != nil || strconv.Itoa(s) != status {
				t.Fatal(s, err)
			}
		}
		// An answer is booked right after its last byte, which the client may have before.
		eventually(t, "booked", func() bool { return r.Meter(testEnv).Requests == before+uint64(n) })
	}
	ask("200", 3)
	w := r.OpenWindow(testEnv)
	other := r.OpenWindow(api.EnvRef{App: "shop", Env: "staging"})
	ask("200", 5)
	late := r.OpenWindow(testEnv)
	ask("500", 2)
	ask("404", 1)
	first := w.Close()
	ask("503", 4)
	for range 2 {
		if got := w.Close(); got != first || got.Requests != 8 || got.Failed != 2 || got.Aborted != 0 || got.Longest <= 0 {
			t.Errorf("window %+v, then %+v", first, got)
		}
	}
	if got := late.Close(); got.Requests != 7 || got.Failed != 6 || got.Closed.Before(got.Opened) {
		t.Errorf("late window %+v", got)
	}
	if got := other.Close(); got.Requests != 0 {
		t.Errorf("other environment's window %+v", got)
	}
	m := r.Meter(testEnv)
	if m.Requests != 15 || m.Failed != 6 || m.Status != [6]uint64{0, 0, 8, 0, 1, 6} {
		t.Errorf("meter %+v", m)
	}
	if p := r.PoolMeters()[poolName]; p.Requests != 15 || p.Boot == m.Boot {
		t.Errorf("pool's meter %+v", p)
	}
	if open := r.meters.ofEnv(testEnv).windows.Load(); open != nil {
		t.Errorf("%d windows are left", len(*open))
	}
}

func TestWindowsUnderLoad(t *testing.T) {
	p := &pool{meter: &meter{}, env: &meter{}}
	m := newMeters()
	m.envs[testEnv] = p.env
	x := &Proxy{meters: m}
	var adding sync.WaitGroup
	whole := x.OpenWindow(testEnv)
	for range 4 {
		adding.Go(func() {
			for i := range 5000 {
				p.book(result{status: 200, failed: i%2 == 0, wait: time.Duration(i)})
			}
		})
	}
	for range 500 {
		w := x.OpenWindow(testEnv)
		if got := w.Close(); got.Failed > got.Requests {
			t.Fatalf("%+v", got)
		}
	}
	adding.Wait()
	if got := whole.Close(); got.Requests != 20000 || got.Failed != 10000 || got.Longest != 4999 {
		t.Errorf("%+v", got)
	}
}

func TestSecondsOfTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeters()
		p := &pool{meter: m.ofPool("p"), env: m.ofEnv(testEnv)}
		x := &Proxy{meters: m}
		start := time.Now()
		for i := range 700 {
			for range i%3 + 1 {
				p.book(result{status: 500, failed: true, wait: time.Duration(i)})
			}
			time.Sleep(time.Second)
		}
		all := x.Seconds(testEnv, start)
		if len(all) != ringSeconds-1 { // the second that has just begun is empty
			t.Fatalf("%d seconds", len(all))
		}
		for i, s := range all {
			at := i + 101
			if n := uint64(at%3 + 1); s.Requests != n || s.Failed != n || s.Longest != time.Duration(at) ||
				!s.Time.Equal(start.Add(time.Duration(at)*time.Second).Truncate(time.Second)) {
				t.Fatalf("second %d: %+v", at, s)
			}
		}
		if last := x.Seconds(testEnv, time.Now().Add(-10*time.Second)); len(last) != 10 {
			t.Errorf("%d of the last seconds", len(last))
		}
		gone := func(string, api.EnvRef) bool { return false }
		m.forget(gone)
		if len(m.envs) != 1 {
			t.Error("forgot an environment that was just in use")
		}
		time.Sleep(2 * ringSeconds * time.Second)
		w := x.OpenWindow(testEnv)
		m.forget(gone)
		if len(m.envs) != 1 || len(m.pools) != 0 {
			t.Errorf("%d environments, %d pools; want the one with a window", len(m.envs), len(m.pools))
		}
		w.Close()
		m.forget(gone)
		if len(m.envs) != 0 {
			t.Error("an environment is left")
		}
	})
}

func TestFaultLogIsSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		l := &faultLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		s := &search{}
		fail := func() { l.write(s, nil, stepPlace, errNoTask) }
		for range 25 {
			fail()
		}
		if n := strings.Count(out.String(), "\n"); n != faultsPerSecond {
			t.Errorf("%d lines in a second", n)
		}
		time.Sleep(time.Second)
		out.Reset()
		fail()
		if !strings.Contains(out.String(), "omitted=15") {
			t.Errorf("log %s", out.String())
		}
	})
}
