package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// services is a table of so many services with a route and two tasks each.
func services(n int) *api.RouteTable {
	t := &api.RouteTable{Version: 1}
	for i := range n {
		name := fmt.Sprintf("service-%04d", i)
		pool := api.Pool{Name: fmt.Sprintf("shop/production/%s:80", name), EnvRef: env, Service: name, Hold: api.DefaultHold}
		in := api.Inside{Address: fmt.Sprintf("10.100.%d.%d", i/250, i%250), EnvRef: env, Service: name, Hold: api.DefaultHold,
			Names: []string{name}, Networks: []string{"default"}}
		for k := range 2 {
			task := fmt.Sprintf("task%06d", 2*i+k)
			pool.Targets = append(pool.Targets, api.Target{Task: task, Release: 1, Address: fmt.Sprintf("10.1.%d.%d:80", i/250, k)})
			in.Targets = append(in.Targets, api.Target{Task: task, Release: 1, Address: fmt.Sprintf("10.1.%d.%d", i/250, k)})
		}
		t.Pools, t.Inside = append(t.Pools, pool), append(t.Inside, in)
		t.Routes = append(t.Routes, api.Route{Host: name + ".example.com", Path: "/", Pool: pool.Name})
	}
	return t
}

// swapped is the table with another task in one of its services.
func swapped(t *api.RouteTable, i int, task string) *api.RouteTable {
	next := *t
	next.Version++
	next.Pools, next.Inside = slices.Clone(t.Pools), slices.Clone(t.Inside)
	next.Pools[i].Targets, next.Inside[i].Targets = slices.Clone(t.Pools[i].Targets), slices.Clone(t.Inside[i].Targets)
	next.Pools[i].Targets[0].Task, next.Inside[i].Targets[0].Task = task, task
	return &next
}

func TestChangeMakesTheTable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table := services(20)
	fresh := services(40)
	for version := range uint64(2000) {
		next := &api.RouteTable{Version: version + 2, Pools: slices.Clone(table.Pools), Routes: slices.Clone(table.Routes),
			Inside: slices.Clone(table.Inside), Listeners: slices.Clone(table.Listeners)}
		for range 1 + random.IntN(3) {
			k := random.IntN(40)
			switch random.IntN(6) {
			case 0:
				next.Pools = slices.Insert(next.Pools, random.IntN(len(next.Pools)+1), fresh.Pools[k])
				next.Routes = slices.Insert(next.Routes, random.IntN(len(next.Routes)+1), fresh.Routes[k])
			case 1:
				if n := min(len(next.Pools), len(next.Routes)); n > 5 {
					i, j := random.IntN(n), random.IntN(n)
					next.Pools = slices.Delete(next.Pools, min(i, j), (i+j)/2)
					next.Routes = slices.Delete(next.Routes, i, i+1)
				}
			case 2:
				if n := len(next.Inside); n > 0 {
					i := random.IntN(n)
					next.Inside[i] = fresh.Inside[k]
				}
			case 3:
				if n := len(next.Routes); n > 1 {
					i, j := random.IntN(n), random.IntN(n)
					next.Routes[i], next.Routes[j] = next.Routes[j], next.Routes[i]
				}
			case 4:
				next.Listeners = append(next.Listeners, api.Listener{Port: uint16(random.IntN(5)), Pool: fresh.Pools[k].Name})
				next.Listeners = next.Listeners[random.IntN(len(next.Listeners)):]
			case 5:
				if n := len(next.Routes); n > 0 {
					next.Routes[random.IntN(n)].Compress = true
				}
			}
		}
		next.Leaving = []string{fmt.Sprint(version)}
		text, err := json.Marshal(changeOf(table, next))
		if err != nil {
			t.Fatal(err)
		}
		var c change
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		got, err := c.of(table)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := asText(t, got), asText(t, next); g != w {
			t.Fatalf("change %s makes\n%s\nwant\n%s", text, g, w)
		}
		table = next
	}
}

func asText(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestChangeIsSmall(t *testing.T) {
	table := services(1000)
	whole := len(asText(t, table))
	without := *table
	without.Pools = slices.Delete(slices.Clone(table.Pools), 300, 310)
	for what, next := range map[string]*api.RouteTable{"a task": swapped(swapped(table, 17, "a"), 900, "b"), "services less": &without} {
		if n := len(asText(t, changeOf(table, next))); n > whole/100 {
			t.Errorf("%s: the change takes %d bytes, the table %d", what, n, whole)
		}
	}
	again := changeOf(&without, table)
	if n := len(asText(t, again)); n > whole/50 {
		t.Errorf("services more: the change takes %d bytes, the table %d", n, whole)
	}
}

func TestChangeOfAnotherTable(t *testing.T) {
	for _, p := range []piece[api.Pool]{{From: -1, Keep: 1}, {From: 3}, {From: 1, Keep: 2}, {Keep: -1}, {From: 1, Keep: 1<<63 - 1}} {
		c := change{Pools: []piece[api.Pool]{p}}
		if _, err := c.of(services(2)); err == nil || !strings.Contains(err.Error(), "pools[0]") {
			t.Errorf("%+v of two pools: %v", p, err)
		}
	}
}

// traced is a peer whose calls are listed.
type traced struct {
	http.RoundTripper
	calls []string
}

func (c *traced) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		c.calls = append(c.calls, fmt.Sprintf("%s %d", r.Method, res.StatusCode))
	}
	return res, err
}

func tracedPeer(socket string) (*peer, *traced) {
	p := newPeer(socket)
	c := &traced{RoundTripper: p.client.Transport}
	p.client.Transport = c
	return p, c
}

// served runs the process's side until the function it gives is called.
func served(t testing.TB, socket string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, Config{Socket: socket}, slog.New(slog.DiscardHandler)) }()
	p := newPeer(socket)
	defer p.client.CloseIdleConnections()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := p.status(ctx, nil); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestTableIsToldInParts follows what is told to a process: changes, and the whole table where it has another one.
func TestTableIsToldInParts(t *testing.T) {
	socket := filepath.Join(shortDir(t), "p.sock")
	stop := served(t, socket)
	p, c := tracedPeer(socket)
	give := func(what string, p *peer, c *traced, table *api.RouteTable, calls ...string) {
		t.Helper()
		c.calls = nil
		st, err := p.table(t.Context(), table)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !slices.Equal(c.calls, calls) || st.Version != table.Version {
			t.Fatalf("%s: calls %v, version %d; want %v, version %d", what, c.calls, st.Version, calls, table.Version)
		}
		tasks := map[string]bool{}
		for _, pool := range table.Pools {
			for _, target := range pool.Targets {
				tasks[target.Task] = true
			}
		}
		picks := map[string]bool{}
		for _, task := range st.Picks {
			picks[task] = true
		}
		if !maps.Equal(tasks, picks) {
			t.Fatalf("%s: picks %v of tasks %v", what, picks, tasks)
		}
	}
	table := services(5)
	give("the first", p, c, table, "PUT 200")
	table = swapped(table, 1, "a")
	give("the second", p, c, table, "PATCH 200")
	table = swapped(table, 2, "b")
	give("the third", p, c, table, "PATCH 200")

	// Another node's side gives one with the same version, which is ignored, and what it then changes is another table.
	other, oc := tracedPeer(socket)
	theirs := swapped(swapped(services(5), 0, "x"), 4, "y")
	if st, err := other.table(t.Context(), theirs); err != nil || !slices.Contains(st.Picks, "b") {
		t.Fatalf("of two tables with one version the second is in force: %v, %v", st.Picks, err)
	}
	theirs = swapped(theirs, 1, "z")
	theirs.Version = 4
	give("after an ignored one", other, oc, theirs, "PATCH 409", "PUT 200")
	theirs = swapped(theirs, 1, "zz")
	give("after that", other, oc, theirs, "PATCH 200")
	table = swapped(table, 3, "c")
	table.Version = 6
	give("over another's", p, c, table, "PATCH 409", "PUT 200")

	stop()
	if _, err := p.table(t.Context(), swapped(table, 3, "d")); err == nil {
		t.Fatal("a process that has ended takes a table")
	}
	stop = served(t, socket)
	table = swapped(table, 3, "e")
	give("a new process", p, c, table, "PUT 200")
	table = swapped(table, 3, "f")
	give("a new process's second", p, c, table, "PATCH 200")
	stop()
	served(t, socket)
	table = swapped(table, 3, "g")
	p.client.CloseIdleConnections()
	give("a process that is new unnoticed", p, c, table, "PATCH 409", "PUT 200")
}

// BenchmarkTable gives a process tables of 2,000 services, of which each swaps one task: both sides, with the status that
// comes back.
func BenchmarkTable(b *testing.B) {
	dir := b.TempDir()
	socket := filepath.Join(dir, "p.sock")
	served(b, socket)
	p := newPeer(socket)
	defer p.client.CloseIdleConnections()
	table := services(2000)
	for _, c := range []struct {
		name   string
		forget bool
	}{{"whole", true}, {"changed", false}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				table = swapped(table, n%2000, fmt.Sprintf("fresh%d", table.Version))
				if c.forget {
					p.given = nil
				}
				if st, err := p.table(b.Context(), table); err != nil || st.Version != table.Version {
					b.Fatal(st.Version, err)
				}
			}
		})
	}
}
