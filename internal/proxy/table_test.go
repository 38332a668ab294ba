package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// TestTablesShareWhatIsTheSame applies tables that differ a little, and holds each against a balancer that has never
// seen another one.
func TestTablesShareWhatIsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	kept, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"a.example", "b.example", "*.example", "*.b.example", "", "A.example"}
	prefixes := []string{"/", "/x", "/x/", "/x/y"}
	shared := 0
	spec := &api.RouteTable{}
	for version := range uint64(3000) {
		next := &api.RouteTable{Version: version + 1, Pools: slices.Clone(spec.Pools), Routes: slices.Clone(spec.Routes), Listeners: slices.Clone(spec.Listeners)}
		at := random.IntN(6)
		name := fmt.Sprintf("p%d", at)
		switch random.IntN(6) {
		case 0: // a pool comes, goes, or has other tasks
			next.Pools = slices.DeleteFunc(next.Pools, func(p api.Pool) bool { return p.Name == name })
			if pool := (api.Pool{Name: name, EnvRef: testEnv, Service: "web"}); random.IntN(4) > 0 {
				for task := range random.IntN(4) {
					pool.Targets = append(pool.Targets, api.Target{Task: fmt.Sprintf("t%d", at*4+task), Release: random.Uint64N(2), Address: "127.0.0.1:1"})
				}
				next.Pools = append(next.Pools, pool)
			}
		case 1, 2:
			r := api.Route{Host: hosts[random.IntN(len(hosts))], Path: prefixes[random.IntN(len(prefixes))], Pool: name}
			r.MaxBody = int64(random.IntN(2))
			if random.IntN(3) == 0 {
				r.Methods = []string{"GET"}
			}
			next.Routes = slices.Insert(next.Routes, random.IntN(len(next.Routes)+1), r)
		case 3, 4:
			if n := len(next.Routes); n > 0 {
				i := random.IntN(n)
				next.Routes = slices.Delete(next.Routes, i, i+1)
			}
		case 5:
			next.Listeners = []api.Listener{{Port: uint16(1 + random.IntN(2)), Pool: name}}
		}
		before := kept.current()
		kept.Apply(next)
		spec = next
		fresh, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		fresh.Apply(next)
		got, want := kept.current(), fresh.current()
		for name, p := range got.pools {
			if before.pools[name] == p {
				shared++
			}
		}
		for _, host := range []string{"a.example", "b.example", "c.example", "d.b.example", "other"} {
			for _, path := range []string{"/", "/x", "/x/y", "/x/y/z", "/z"} {
				for _, method := range []string{"GET", "POST"} {
					r := &http1.Request{Method: []byte(method)}
					g, w := got.routes.find([]byte(host), []byte(path), r), want.routes.find([]byte(host), []byte(path), r)
					if sayEntry(g) != sayEntry(w) {
						t.Fatalf("table %d, %s %s%s: %s, want %s", next.Version, method, host, path, sayEntry(g), sayEntry(w))
					}
				}
			}
		}
		for addr, l := range want.listeners {
			if g := got.listeners[addr]; sayEntry(g.entry) != sayEntry(l.entry) || g.Listener != l.Listener {
				t.Fatalf("table %d, listener %s: %s, want %s", next.Version, addr, sayEntry(g.entry), sayEntry(l.entry))
			}
		}
		if g, w := kept.Status().Picks, fresh.Status().Picks; !slices.Equal(g, w) {
			t.Fatalf("table %d: picks %v, want %v", next.Version, g, w)
		}
		left := map[*target]bool{}
		for g := range before.targets() {
			left[g] = true
		}
		for g := range got.targets() {
			delete(left, g)
			if g.hasLeft() {
				t.Fatalf("table %d: %s has left and is in it", next.Version, g.Task)
			}
		}
		for g := range left {
			if !g.hasLeft() {
				t.Fatalf("table %d: %s is not in it and has not left", next.Version, g.Task)
			}
		}
	}
	if shared == 0 {
		t.Error("no table has shared a pool with the one before")
	}
}

// sayEntry says where requests of an entry go and are booked.
func sayEntry(e *entry) string {
	if e == nil {
		return "none"
	}
	s := fmt.Sprintf("%s to %s, at most %d bytes, %+v:", e.name, e.pool.Name, e.policy.MaxBody(), e.none.Source())
	for i, g := range e.pool.targets {
		s += fmt.Sprintf(" %+v booked at %+v", g.Target, e.leaves[i].Source())
	}
	return s
}

// TestConnectionsKeepNoTable holds a request in flight over many tables, which must not stay in memory for it.
func TestConnectionsKeepNoTable(t *testing.T) {
	r := run(t, Config{})
	begun, end := make(chan struct{}), make(chan struct{})
	addr := backend(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-end
	}))
	defer close(end)
	collected := make(chan struct{}, 1)
	r.route("a=" + addr)
	runtime.AddCleanup(r.current(), func(c chan struct{}) { c <- struct{}{} }, collected)
	for name, client := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		res, err := client.Get(r.url)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer res.Body.Close()
		<-begun
	}
	r.route("a=" + addr)
	eventually(t, "the table is collected", func() bool {
		runtime.GC()
		select {
		case <-collected:
			return true
		default:
			return false
		}
	})
}
