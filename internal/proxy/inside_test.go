package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// A connection that was not redirected is meant for where it arrived. So the door's own address does for a virtual one
// here, and tasks that listen on the same port of other loopback addresses for its tasks.
const virtualAddress = "127.0.0.1"

// insideDoor opens the door at a free port, which it gives.
func (r *running) insideDoor() uint16 {
	r.t.Helper()
	port := freePort(r.t)
	r.SetInside(loopback(port))
	return port
}

// inside is an Apply of a table with one service that has a virtual address and nothing else; tasks are "task=address".
func (r *running) reachable(hold time.Duration, protocols map[uint16]string, tasks ...string) {
	s := api.Inside{Address: virtualAddress, EnvRef: testEnv, Service: "api", Hold: api.Duration(hold), Protocols: protocols}
	for _, text := range tasks {
		task, addr, _ := strings.Cut(text, "=")
		s.Targets = append(s.Targets, api.Target{Task: task, Release: 1, Address: addr})
	}
	r.Apply(&api.RouteTable{Version: r.version.Add(1), Inside: []api.Inside{s}})
}

// listenAt opens a port of another loopback address.
func listenAt(t testing.TB, addr string, port uint16) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(addr, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func httpAt(t testing.TB, addr string, port uint16, h http.Handler) {
	t.Helper()
	s := &httptest.Server{Listener: listenAt(t, addr, port), Config: &http.Server{Handler: h}}
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
}

// TestInsideBalancesRequests has one kept connection whose requests go to both tasks, and to none that has left.
func TestInsideBalancesRequests(t *testing.T) {
	for name, client := range map[string]func(testing.TB) *http.Client{"HTTP/1": newTestClient, "h2c": h2cClient} {
		for _, protocol := range []string{api.ProtoAuto, api.ProtoHTTP} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				r := run(t, Config{})
				port := r.insideDoor()
				where := func(w http.ResponseWriter, q *http.Request) {
					fmt.Fprint(w, q.Context().Value(http.LocalAddrContextKey), " ", q.Host, " ", q.Header.Get("X-Forwarded-For"), " ", q.Header.Get("X-Forwarded-Port"))
				}
				httpAt(t, "127.0.0.2", port, http.HandlerFunc(where))
				httpAt(t, "127.0.0.3", port, http.HandlerFunc(where))
				r.reachable(time.Second, map[uint16]string{port: protocol}, "a=127.0.0.2", "b=127.0.0.3")
				c := client(t)
				seen := map[string]int{}
				ask := func(n int) {
					t.Helper()
					for range n {
						code, body, err := get(c, "http://"+loopback(port)+"/")
						task, rest, _ := strings.Cut(body, " ")
						if want := fmt.Sprintf("%s 127.0.0.1 %d", loopback(port), port); err != nil || code != 200 || rest != want {
							t.Fatalf("%d %q, %v; want %q", code, body, err, want)
						}
						seen[task]++
					}
				}
				ask(50)
				if len(seen) != 2 {
					t.Errorf("50 requests of one client went to %v", seen)
				}
				r.reachable(time.Second, map[uint16]string{port: protocol}, "b=127.0.0.3")
				clear(seen)
				ask(10)
				if len(seen) != 1 {
					t.Errorf("after a left requests went to %v", seen)
				}
				r.counted(60)
				if m := r.Meter(testEnv); m.Failed != 0 {
					t.Errorf("counted %+v", m)
				}
			})
		}
	}
}

// TestInsideHolds has a call arrive before there is a table, and one while there is no task.
func TestInsideHolds(t *testing.T) {
	r := run(t, Config{})
	port := r.insideDoor()
	httpAt(t, "127.0.0.2", port, says("hello"))
	answers := make(chan string)
	ask := func() {
		_, body, err := get(newTestClient(t), "http://"+loopback(port)+"/")
		if err != nil {
			body = err.Error()
		}
		answers <- body
	}
	go ask()
	eventually(t, "the first call waits for a table", func() bool { return r.early.Load() == 1 })
	r.reachable(10*time.Second, nil)
	eventually(t, "it waits for a task", func() bool { return r.Meter(testEnv).Held == 1 })
	go ask()
	eventually(t, "both wait", func() bool { return r.Meter(testEnv).Held == 2 })
	r.reachable(10*time.Second, nil, "a=127.0.0.2")
	for range 2 {
		if got := <-answers; got != "hello" {
			t.Errorf("answer %q", got)
		}
	}
}

// TestInsideDrains keeps a raw connection over its task's leave, and counts it until it ends.
func TestInsideDrains(t *testing.T) {
	r := run(t, Config{})
	port := r.insideDoor()
	for _, addr := range []string{"127.0.0.2", "127.0.0.3"} {
		ln := listenAt(t, addr, port)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
			}
		}()
	}
	r.reachable(time.Second, map[uint16]string{port: api.ProtoTCP}, "a=127.0.0.2")
	if s := r.Status(); len(s.Picks) != 1 || s.Picks[0] != "a" {
		t.Errorf("picks %v before any port is spoken to", s.Picks)
	}
	c := dialTCP(t, loopback(port))
	echo := func() {
		t.Helper()
		b := make([]byte, 2)
		if _, err := io.WriteString(c, "hi"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hi" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	echo()
	r.reachable(time.Second, map[uint16]string{port: api.ProtoTCP}, "b=127.0.0.3")
	echo()
	if s := r.Status(); s.Drains["a"] != 1 || len(s.Picks) != 1 || s.Picks[0] != "b" {
		t.Errorf("status %+v while a drains", s)
	}
	_ = c.Close()
	r.until("a has drained", func(s api.BalancerStatus) bool { n, there := s.Drains["a"]; return there && n == 0 })
}

// TestInsideRefusesWhatIsNobodys closes connections to an address that no service has.
func TestInsideRefusesWhatIsNobodys(t *testing.T) {
	r := run(t, Config{})
	port := r.insideDoor()
	r.Apply(&api.RouteTable{Version: r.version.Add(1), Inside: []api.Inside{{Address: "127.0.0.9", EnvRef: testEnv, Service: "api"}}})
	if c, err := net.Dial("tcp", loopback(port)); err == nil { // else it was reset that soon
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
	if len(r.spoken) != 0 {
		t.Errorf("remembers %v", r.spoken)
	}
}

// TestInsidePorts bounds what is kept of a task that tries every port, and forgets it with the service.
func TestInsidePorts(t *testing.T) {
	r := run(t, Config{})
	r.reachable(time.Second, nil, "a=127.0.0.2")
	a := netip.MustParseAddr(virtualAddress)
	entered := 0
	for port := range uint16(3 * portsPerService) {
		if r.enter(netip.AddrPortFrom(a, port+1)) {
			entered++
		}
	}
	if entered != portsPerService || len(r.current().inside) != portsPerService {
		t.Errorf("%d ports were entered, %d are kept", entered, len(r.current().inside))
	}
	if !r.enter(netip.AddrPortFrom(a, 1)) {
		t.Error("a port that is spoken to is refused")
	}
	r.reachable(time.Second, nil, "b=127.0.0.2")
	if got := len(r.current().inside); got != portsPerService {
		t.Errorf("%d ports over a new table", got)
	}
	r.Apply(&api.RouteTable{Version: r.version.Add(1)})
	if len(r.current().inside) != 0 || len(r.spoken) != 0 {
		t.Errorf("%d ports without the service", len(r.spoken))
	}
}

// TestInsideSharesThePoolOfAPublishedPort knows where a task of an older release listens.
func TestInsideSharesThePoolOfAPublishedPort(t *testing.T) {
	r := run(t, Config{})
	port := r.insideDoor()
	old := backend(t, says("at its own port"))
	pool := api.Pool{Name: fmt.Sprintf("%s/api:%d", testEnv, port), EnvRef: testEnv, Service: "api", Hold: api.Duration(time.Second),
		Targets: []api.Target{{Task: "a", Release: 1, Address: old}}}
	r.Apply(&api.RouteTable{Version: r.version.Add(1), Pools: []api.Pool{pool}, Inside: []api.Inside{{Address: virtualAddress,
		EnvRef: testEnv, Service: "api", Hold: api.Duration(time.Second), Targets: []api.Target{{Task: "a", Release: 1, Address: "127.0.0.2"}}}}})
	want(t, newTestClient(t), "http://"+loopback(port)+"/", 200, "at its own port")
}

// TestClientsOfEveryAddress counts connections by client whatever the address: tasks have all kinds.
func TestClientsOfEveryAddress(t *testing.T) {
	s := clients{most: 1}
	a := netip.MustParseAddr("10.210.0.0")
	for range 1 << 10 {
		release, ok := s.admit(a)
		if _, again := s.admit(a); !ok || again {
			t.Fatalf("%s: first admitted %v, second %v", a, ok, again)
		}
		release()
		a = a.Next()
	}
	for i := range s.shards {
		if len(s.shards[i].count) != 0 {
			t.Errorf("shard %d remembers %v", i, s.shards[i].count)
		}
	}
}
