package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "proxy" {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if err := Main(ctx, os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// node is one ikada's side of a balancer; several may follow one another on one directory.
type node struct {
	*Balancer
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, dir, version string) *node {
	t.Helper()
	return configured(t, dir, Config{Version: version})
}

func configured(t *testing.T, dir string, cfg Config) *node {
	t.Helper()
	cfg.Socket = filepath.Join(dir, "p.sock")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(cfg, dir, []string{self, "proxy"},
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{Balancer: b, cancel: cancel, done: make(chan error, 1)}
	go func() { n.done <- b.Run(ctx) }()
	t.Cleanup(func() {
		n.end()
		if err := b.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// end lets this ikada's side go, as its death would; the process stays.
func (n *node) end() {
	n.cancel()
	<-n.done
	n.done <- nil
}

// dir is short, since the paths of sockets are.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ikp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// freePort gives a port of 127.0.0.1 at which nobody listens, and which the kernel gives to nobody else until the test's
// end: a socket holds it that lets others listen there.
func freePort(t *testing.T) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(addr.(*unix.SockaddrInet4).Port)
}

var env = api.EnvRef{App: "shop", Env: "production"}

func table(version uint64, port uint16, backends map[string]*httptest.Server) *api.RouteTable {
	pool := api.Pool{Name: "p", EnvRef: env, Service: "web", Hold: api.Duration(10 * time.Second)}
	for task, s := range backends {
		pool.Targets = append(pool.Targets, api.Target{Task: task, Release: 1, Address: s.Listener.Addr().String()})
	}
	return &api.RouteTable{Version: version, Pools: []api.Pool{pool},
		Listeners: []api.Listener{{HostIP: "127.0.0.1", Port: port, Protocol: api.ProtoHTTP, Pool: "p"}}}
}

func backend(t *testing.T, name string) *httptest.Server { return holding(t, name, nil) }

// holding is a backend that answers requests with the query "hold" once held is closed.
func holding(t *testing.T, name string, held chan struct{}) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "hold" {
			<-held
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(s.Close)
	return s
}

// load sends requests until it is stopped, from clients that keep their connections and from ones that do not.
type load struct {
	stop         chan struct{}
	wg           sync.WaitGroup
	sent, failed atomic.Int64
	mu           sync.Mutex
	first        error
}

func newLoad(port uint16) *load {
	l := &load{stop: make(chan struct{})}
	for i := range 4 {
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		l.wg.Go(func() {
			defer client.CloseIdleConnections()
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				l.sent.Add(1)
				if _, err := get(client, port, ""); err != nil {
					l.failed.Add(1)
					l.mu.Lock()
					if l.first == nil {
						l.first = err
					}
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (l *load) end() (sent, failed int64) {
	close(l.stop)
	l.wg.Wait()
	return l.sent.Load(), l.failed.Load()
}

func get(c *http.Client, port uint16, query string) (string, error) {
	resp, err := c.Get("http://127.0.0.1:" + strconv.Itoa(int(port)) + "/" + query)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + ": " + string(b))
	}
	return string(b), err
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("not in time: ", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestOutlivesTheNode(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	one := start(t, dir, "1")
	one.Apply(table(1, port, map[string]*httptest.Server{"a": backend(t, "a")}))
	if st := one.Status(); st.Version != 1 || len(st.Picks) != 1 {
		t.Fatalf("status is %+v", st)
	}
	if _, err := one.Window("w", env); err != nil {
		t.Fatal(err)
	}
	l := newLoad(port)
	pid := one.PID()
	one.end()
	until(t, "requests without a node", func() bool { return l.sent.Load() > 200 })
	two := start(t, dir, "1")
	if two.PID() != pid {
		t.Errorf("process %d was replaced by %d", pid, two.PID())
	}
	two.Apply(table(2, port, map[string]*httptest.Server{"b": backend(t, "b")}))
	if got, err := get(http.DefaultClient, port, ""); got != "b" {
		t.Errorf("answer is %q, %v", got, err)
	}
	sent, failed := l.end()
	if failed != 0 {
		t.Errorf("%d of %d requests failed: %v", failed, sent, l.first)
	}
	until(t, "the window's count", func() bool { // a request is booked after its answer is written
		w, err := two.Window("w", env)
		var sum uint64
		for _, r := range w.Releases {
			sum += r.Requests
		}
		return err == nil && int64(w.Requests) >= sent && sum == w.Requests
	})
}

func TestTotalsAddUp(t *testing.T) {
	release := func(n, requests uint64, longest time.Duration) meter.ReleaseCount {
		return meter.ReleaseCount{Release: n, Count: meter.Count{Requests: requests, Longest: longest}}
	}
	sum := Totals{Count: meter.Count{Requests: 5, Longest: 3}, Releases: []meter.ReleaseCount{release(2, 5, 3)}}
	sum.add(&Totals{Count: meter.Count{Requests: 7, Failed: 1, Longest: 9}, Releases: []meter.ReleaseCount{release(1, 3, 9), release(2, 1, 2), release(4, 3, 1)}})
	sum.add(&Totals{Count: meter.Count{Requests: 2}}) // an earlier version's
	want := Totals{Count: meter.Count{Requests: 14, Failed: 1, Longest: 9}, Releases: []meter.ReleaseCount{release(1, 3, 9), release(2, 6, 3), release(4, 3, 1)}}
	if !reflect.DeepEqual(sum, want) {
		t.Errorf("sum is %+v", sum)
	}
}

func TestCrashIsHealed(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	n := start(t, dir, "1")
	n.Apply(table(1, port, map[string]*httptest.Server{"a": backend(t, "a")}))
	for range 5 {
		pid := n.PID()
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// The port stays open: a connection that comes now waits for the next process.
		began := time.Now()
		if got, err := get(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, port, ""); got != "a" {
			t.Fatalf("after the crash: %q, %v", got, err)
		}
		t.Logf("answered after %s", time.Since(began))
		until(t, "a new process", func() bool { return n.PID() != pid })
		until(t, "its table", func() bool { return n.Status().Version == 1 })
	}
}

func TestProblemOfOneThatDoesNotAnswer(t *testing.T) {
	n := start(t, shortDir(t), "1")
	if got := n.problem(time.Minute); got != "" {
		t.Errorf("while it runs: %q", got)
	}
	pid := n.PID()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(pid, unix.SIGCONT) }() // else nothing ends it
	until(t, "what ails it", func() bool {
		return n.problem(100*time.Millisecond) == fmt.Sprintf("the balancer, process %d, does not answer: requests may wait, and deployments do", pid)
	})
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := n.problem(time.Minute); got != "" {
		t.Errorf("once it goes on: %q", got)
	}
}

func TestUpgrade(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	held := make(chan struct{})
	a := map[string]*httptest.Server{"a": holding(t, "a", held)}
	one := start(t, dir, "1")
	one.Apply(table(1, port, a))
	slow := make(chan string, 1)
	l := newLoad(port)
	go func() {
		got, err := get(&http.Client{}, port, "?hold")
		slow <- fmt.Sprint(got, err)
	}()
	until(t, "load", func() bool { return l.sent.Load() > 50 })
	version, pid := 1, one.PID()
	last := one
	for i := 2; i < 6; i++ {
		last.end()
		last = start(t, dir, strconv.Itoa(i))
		version++
		last.Apply(table(uint64(version), port, a))
		if last.PID() == pid {
			t.Fatal("the process was not replaced")
		}
		pid = last.PID()
		before := l.sent.Load()
		until(t, "more load", func() bool { return l.sent.Load() > before+100 })
	}
	// The task leaves: what the replaced processes still have there counts.
	last.Apply(table(uint64(version)+1, port, map[string]*httptest.Server{"b": backend(t, "b")}))
	if n := last.Status().Drains["a"]; n < 1 {
		t.Errorf("%d requests in flight at the task that left, the slow one is", n)
	}
	close(held)
	if got := <-slow; got != "a<nil>" {
		t.Errorf("slow request: %s", got)
	}
	until(t, "drain", func() bool { return last.Status().Drains["a"] == 0 })
	sent, failed := l.end()
	if failed != 0 {
		t.Errorf("%d of %d requests failed: %v", failed, sent, l.first)
	}
	until(t, "the end of replaced processes", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "p.sock.old-*"))
		return len(left) == 0
	})
	t.Logf("%d requests over 4 upgrades", sent)
}

// TestAnswersOvertakeEachOther has a replaced process say what it has in flight after a table, and then what it said
// before: a task must not be taken for one that has nothing in flight.
func TestAnswersOvertakeEachOther(t *testing.T) {
	const socket = "p.sock.old-1"
	b := &Balancer{changed: make(chan struct{}, 1), retiring: map[string]*peer{socket: {}}, said: map[string]Status{}}
	said := func(version, seq uint64, drains map[string]int) Status {
		return Status{BalancerStatus: api.BalancerStatus{Version: version, Drains: drains}, Seq: seq}
	}
	for _, st := range []Status{said(1, 7, nil), said(2, 7, map[string]int{"a": 1}), said(1, 7, nil), said(1, 6, nil)} {
		b.noteRetiring(socket, st, nil)
	}
	if n := b.Status().Drains["a"]; n != 1 {
		t.Errorf("%d requests in flight, expected 1", n)
	}
	b.noteRetiring(socket, said(2, 8, map[string]int{"a": 0}), nil)
	b.noteRetiring(socket, said(2, 7, map[string]int{"a": 1}), nil)
	if n := b.Status().Drains["a"]; n != 0 {
		t.Errorf("%d requests in flight, expected none", n)
	}
	b.note(said(3, 1, nil))
	b.note(said(2, 1, nil))
	if v := b.Status().Version; v != 3 {
		t.Errorf("version %d, expected 3", v)
	}
}

// TestNewConfiguration restarts the node with another shared port: the process that has the old one is replaced.
func TestNewConfiguration(t *testing.T) {
	dir, ports := shortDir(t), []uint16{freePort(t), freePort(t)}
	routed := func(version uint64) *api.RouteTable {
		rt := table(version, freePort(t), map[string]*httptest.Server{"a": backend(t, "a")})
		rt.Routes = []api.Route{{Path: "/", Pool: rt.Pools[0].Name}}
		return rt
	}
	var pid int
	for i, port := range []uint16{ports[0], ports[1], ports[1]} {
		n := configured(t, dir, Config{Version: "1", HTTP: fmt.Sprintf("127.0.0.1:%d", port)})
		n.Apply(routed(uint64(i + 1)))
		if replaced := n.PID() != pid; replaced != (i < 2) {
			t.Errorf("start %d: process %d after %d", i, n.PID(), pid)
		}
		pid = n.PID()
		if got, err := get(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, port, ""); got != "a" {
			t.Errorf("start %d: %q, %v", i, got, err)
		}
		n.end()
		closeAll(n.held) // as the process's end does
		clear(n.held)
	}
	_, err := get(&http.Client{Timeout: time.Minute}, ports[0], "")
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the port before: %v", err)
	}
}

func TestClosedPortsAreLetGo(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	n := start(t, dir, "1")
	n.Apply(table(1, port, map[string]*httptest.Server{"a": backend(t, "a")}))
	n.Apply(&api.RouteTable{Version: 2})
	_, err := get(&http.Client{Timeout: time.Minute}, port, "")
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a port that no table names: %v", err)
	}
}

// TestCrashAtATable kills the process right before a table: whoever equips the next one, its ports stay open.
func TestCrashAtATable(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	n := start(t, dir, "1")
	a := map[string]*httptest.Server{"a": backend(t, "a")}
	n.Apply(table(1, port, a))
	for version := uint64(2); version < 8; version++ {
		pid := n.PID()
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		n.Apply(table(version, port, a))
		if got, err := get(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, port, ""); got != "a" {
			t.Fatalf("after crash %d: %q, %v", version-1, got, err)
		}
		if p := n.Status().Problem; len(p) > 0 {
			t.Errorf("after crash %d: %v", version-1, p)
		}
		// It takes tables, and is the one to kill once its supervisor has seen it answer too.
		until(t, "a new process", func() bool { return n.PID() != pid })
	}
}
