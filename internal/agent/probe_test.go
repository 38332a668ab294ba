package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// commands is a runtime that only runs check commands, as exec says.
type commands struct {
	Runtime
	exec func(ctx context.Context, x Exec) (int, error)
}

func (c commands) Exec(ctx context.Context, _ string, x Exec) (int, error) { return c.exec(ctx, x) }

// names is a network that only notes what is published.
type names struct {
	Network
	ready   []bool
	listens []netip.AddrPort
}

func (n *names) Publish(_ string, ready bool) { n.ready = append(n.ready, ready) }

func (n *names) Listening(string) ([]netip.AddrPort, error) { return n.listens, nil }

// probed makes a running task at the address.
func probed(t *testing.T, address string, exec func(ctx context.Context, x Exec) (int, error)) (*task, *names) {
	t.Helper()
	n := &names{}
	a := New(Config{Runtime: commands{exec: exec}, Network: n, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	k := &task{a: a, log: a.log, task: api.Task{ID: "t1", Service: "web", Slot: 1}, changed: make(chan struct{}), exits: make(chan Exit, 1)}
	k.status = api.TaskStatus{Task: "t1", State: api.TaskRunning, Address: address}
	return k, n
}

func split(t *testing.T, addr string) (host string, port uint16) {
	t.Helper()
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return host, uint16(n)
}

func TestHTTPCheck(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.Host != "shop.example.com" || r.URL.RawQuery != "deep=1" {
				w.WriteHeader(http.StatusBadRequest)
			}
		case "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "no database\n")
		case "/hang":
			<-hang
		}
	}))
	defer s.Close()
	defer close(hang)
	host, port := split(t, s.Listener.Addr().String())
	cases := []struct{ path, want string }{
		{"/ok?deep=1", ""},
		{"ok?deep=1", ""},
		{"/moved", ""}, // 3xx is healthy, and not followed
		{"/broken", `status 503: "no database"`},
		{"/hang", "no answer within 50ms"},
	}
	for _, tc := range cases {
		k, _ := probed(t, host, nil)
		timeout := api.Duration(time.Minute)
		if tc.path == "/hang" {
			timeout = api.Duration(50 * time.Millisecond)
		}
		c := newCheck(k, api.ServiceSpec{Health: &api.HealthSpec{HTTP: &api.HTTPGet{Path: tc.path, Port: port, Host: "shop.example.com"},
			Timeout: timeout}})
		if got := text(c.once(t.Context())); got != tc.want && tc.path != "/ok?deep=1" || tc.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tc.path, got, tc.want)
		}
		if want := fmt.Sprintf("GET http://%s:%d/", host, port); !strings.HasPrefix(c.name, want) {
			t.Errorf("name is %q", c.name)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestTCPCheck(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port := split(t, l.Addr().String())
	k, _ := probed(t, host, nil)
	c := newCheck(k, api.ServiceSpec{Expose: []uint16{port}}) // ikada's own, by the first port
	if c.name != "connect to "+l.Addr().String() {
		t.Errorf("name is %q", c.name)
	}
	if err := c.once(t.Context()); err != nil {
		t.Error(err)
	}
	_ = l.Close()
	if err := c.once(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
}

func TestCommandCheck(t *testing.T) {
	k, _ := probed(t, "", func(_ context.Context, x Exec) (int, error) {
		if x.Args[0] == "gone" {
			return 0, errors.New("no such file")
		}
		_, _ = io.WriteString(x.Stdout, strings.Repeat("x", 1000))
		_, _ = io.WriteString(x.Stderr, "last words\n")
		return len(x.Args) - 1, nil
	})
	run := func(args ...string) string {
		return text(newCheck(k, api.ServiceSpec{Health: &api.HealthSpec{Command: args}}).once(t.Context()))
	}
	if got := run("ok"); got != "" {
		t.Errorf("error %q", got)
	}
	if got := run("a", "b"); !strings.HasPrefix(got, `exit code 1: "xxx`) || !strings.HasSuffix(got, `last words"`) || len(got) > 2*tailBytes {
		t.Errorf("error %q", got)
	}
	if got := run("gone"); got != "no such file" {
		t.Errorf("error %q", got)
	}
}

func TestDefaultsOfChecks(t *testing.T) {
	cases := []struct {
		name     string
		spec     api.ServiceSpec
		check    string
		deadline time.Duration
		interval time.Duration
		settle   time.Duration
	}{
		{"no port", api.ServiceSpec{}, "no check", 75 * time.Second, 5 * time.Second, settleTime},
		{"a port", api.ServiceSpec{Ports: []api.PortSpec{{Target: 80}}}, "connect to 10.0.0.9:80", 75 * time.Second, 5 * time.Second, 0},
		{"disabled", api.ServiceSpec{Health: &api.HealthSpec{Disabled: true}}, "no check", 90 * time.Second, 30 * time.Second, 0},
		{"Docker's", api.ServiceSpec{Health: &api.HealthSpec{Command: []string{"x"}}}, "check command", 90 * time.Second, 30 * time.Second, 0},
		{"own", api.ServiceSpec{Ports: []api.PortSpec{{Target: 80}}, Health: &api.HealthSpec{HTTP: &api.HTTPGet{Path: "/up"}, Interval: api.Duration(2 * time.Second),
			Retries: 5, StartPeriod: api.Duration(time.Minute)}}, "GET http://10.0.0.9:80/up", 70 * time.Second, 2 * time.Second, 0},
	}
	for _, tc := range cases {
		k, _ := probed(t, "10.0.0.9", nil)
		c := newCheck(k, tc.spec)
		if c.name != tc.check || c.deadline != tc.deadline || c.interval != tc.interval || c.settle != tc.settle {
			t.Errorf("%s: %+v", tc.name, c)
		}
	}
}

// TestProbing follows one task: failures before it is ready do not count, one success makes it ready, and only as many
// failures in a row as retries make it unhealthy.
func TestProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		bad := func() bool {
			since := time.Since(began)
			switch {
			case since < 7*time.Second: // starts up
				return true
			case since > 20*time.Second && since < 24500*time.Millisecond: // two misses: one fewer than retries
				return true
			}
			return since > 60*time.Second
		}
		k, n := probed(t, "", func(context.Context, Exec) (int, error) {
			if bad() {
				return 1, nil
			}
			return 0, nil
		})
		spec := api.ServiceSpec{Health: &api.HealthSpec{Command: []string{"x"}, Interval: api.Duration(2 * time.Second), Retries: 3,
			StartPeriod: api.Duration(10 * time.Second), StartInterval: api.Duration(500 * time.Millisecond)}}
		k.probe(t.Context(), spec, make(chan string, 1))
		if ready := k.status.ReadyAt.Sub(began); ready < 7*time.Second || ready > 7500*time.Millisecond {
			t.Errorf("ready after %s", ready)
		}
		took := time.Since(began)
		if !k.status.Unhealthy || k.status.Cause != api.CauseUnhealthy || took < 64*time.Second || took > 67*time.Second {
			t.Errorf("after %s: %+v", took, k.status)
		}
		if want := `unhealthy: check command failed 3 times: exit code 1: ""`; k.status.Message != want {
			t.Errorf("message %q", k.status.Message)
		}
		if fmt.Sprint(n.ready) != "[true false]" {
			t.Errorf("published %v", n.ready)
		}
	})
}

func TestNeverReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		k, n := probed(t, "", func(ctx context.Context, _ Exec) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		spec := api.ServiceSpec{Health: &api.HealthSpec{Command: []string{"x"}, Interval: api.Duration(time.Second), Retries: 2,
			Timeout: api.Duration(3 * time.Second), StartPeriod: api.Duration(8 * time.Second)}}
		unfit := make(chan string, 1)
		k.probe(t.Context(), spec, unfit)
		if why := <-unfit; why != "not ready after 12s: check command: no answer within 3s" { // the check that began before the tenth second
			t.Errorf("reason %q", why)
		}
		if took := time.Since(began); took < 10*time.Second || took > 14*time.Second || len(n.ready) > 0 {
			t.Errorf("after %s, published %v", took, n.ready)
		}
	})
}

// deafPort gives a port of 127.0.0.1 that refuses connections for as long as the test runs: it is bound, and nobody listens.
func deafPort(t *testing.T) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(bound.(*unix.SockaddrInet4).Port)
}

// TestNotReadySaysWhere holds that a task nobody reaches at its port tells where it listens, at once and in the end.
func TestNotReadySaysWhere(t *testing.T) {
	const host = "127.0.0.1"
	port := deafPort(t)
	for _, tc := range []struct {
		listens []string
		want    string
	}{
		{nil, "nothing in it listens on a TCP port"},
		{[]string{"0.0.0.0:9090", "[::]:9090", "127.0.0.1:9091"}, "it listens on port 9090, 127.0.0.1:9091"},
		{[]string{"0.0.0.0:9090", fmt.Sprintf("127.0.0.1:%d", port)},
			fmt.Sprintf("it listens on 127.0.0.1:%d, where only itself reaches it: let it listen on 0.0.0.0", port)},
	} {
		for _, h := range []*api.HealthSpec{{TCP: &api.TCPProbe{Port: port}}, {HTTP: &api.HTTPGet{Port: port}}} {
			k, n := probed(t, host, nil)
			for _, text := range tc.listens {
				n.listens = append(n.listens, netip.MustParseAddrPort(text))
			}
			c := newCheck(k, api.ServiceSpec{Health: h})
			err := c.once(t.Context())
			if got := k.failure(c, err); !strings.HasPrefix(got, c.name+": ") || !strings.HasSuffix(got, "connection refused; "+tc.want) {
				t.Errorf("listens on %v: %q", n.listens, got)
			}
		}
	}
	k, _ := probed(t, host, nil)
	if got := k.failure(&check{name: "GET /", port: port}, errors.New("status 500")); got != "GET /: status 500" {
		t.Errorf("an answer is told as %q", got)
	}
}

// TestWhatItIsNotReadyFor holds that the status says so long before the time to be ready is over, and only anew when it
// is something else.
func TestWhatItIsNotReadyFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		k, _ := probed(t, "", func(_ context.Context, x Exec) (int, error) {
			switch since := time.Since(began); {
			case since < 20*time.Second:
				_, _ = io.WriteString(x.Stdout, "no database")
				return 1, nil
			case since < 30*time.Second:
				return 2, nil
			}
			return 0, nil
		})
		spec := api.ServiceSpec{Health: &api.HealthSpec{Command: []string{"x"}, StartPeriod: api.Duration(time.Minute)}}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go k.probe(ctx, spec, make(chan string, 1))
		for _, at := range []struct {
			after time.Duration
			want  string
		}{
			{time.Second, ""},
			{3 * time.Second, `check command: exit code 1: "no database"`},
			{19 * time.Second, `check command: exit code 1: "no database"`},
			{29 * time.Second, `check command: exit code 2: ""`},
			{31 * time.Second, ""},
		} {
			time.Sleep(at.after - time.Since(began))
			synctest.Wait()
			k.mu.Lock()
			got := k.status.Message
			k.mu.Unlock()
			if got != at.want {
				t.Errorf("after %s: %q, want %q", at.after, got, at.want)
			}
		}
	})
}

func TestNoCheckSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		k, n := probed(t, "", nil)
		k.probe(t.Context(), api.ServiceSpec{}, make(chan string, 1))
		if k.status.State != api.TaskReady || time.Since(began) != settleTime || len(n.ready) != 1 {
			t.Errorf("after %s: %+v", time.Since(began), k.status)
		}
	})
}
