package proxy

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// rude is a server that reads a request's head and then does something else than to answer it.
func rude(t *testing.T, then func(c *net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				head := ""
				for buf := make([]byte, 512); !strings.Contains(head, "\r\n\r\n"); {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					head += string(buf[:n])
				}
				then(c.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().String()
}

// TestEveryFailureIsExplained holds of each way to fail that it is counted once and that what is kept of it names the
// task, the step and the error.
func TestEveryFailureIsExplained(t *testing.T) {
	refusing := loopback(freePort(t))
	resetting := rude(t, func(c *net.TCPConn) { _ = c.SetLinger(0) })
	garbling := rude(t, func(c *net.TCPConn) { fmt.Fprint(c, "220 mail.example.com ESMTP\r\n\r\n") })
	breaking := rude(t, func(c *net.TCPConn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") })
	switching := rude(t, func(c *net.TCPConn) {
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
	})
	late := rude(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }) // until the balancer has had enough
	failing := backend(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))

	for _, c := range []struct {
		name   string
		addr   string // of the task; "" is no task
		policy api.RoutePolicy
		task   string
		want   meter.Fault
		text   string
	}{
		{name: "no task", want: meter.Fault{Step: meter.StepPlace, Failure: meter.NoTarget, Status: 503}, text: "no task is ready"},
		{name: "refuses", addr: refusing, task: "a", want: meter.Fault{Step: meter.StepConnect, Failure: meter.Refused, Status: 503, Retries: 1},
			text: "connection refused"},
		{name: "resets", addr: resetting, task: "a", want: meter.Fault{Step: meter.StepAnswer, Failure: meter.Reset, Status: 502}, text: "reset"},
		{name: "answers garbage", addr: garbling, task: "a", want: meter.Fault{Step: meter.StepAnswer, Failure: meter.Protocol, Status: 502}},
		{name: "times out", addr: late, task: "a", policy: api.RoutePolicy{Timeout: api.Duration(500 * time.Millisecond)},
			want: meter.Fault{Step: meter.StepAnswer, Failure: meter.Timeout, Status: 504}, text: "timeout"},
		{name: "breaks off", addr: breaking, task: "a", want: meter.Fault{Step: meter.StepPass, Failure: meter.Broken, Status: 200}, text: "EOF"},
		{name: "switches unasked", addr: switching, task: "a", want: meter.Fault{Step: meter.StepSwitch, Failure: meter.Protocol, Status: 502}, text: `"other"`},
		{name: "answers 500", addr: failing, task: "a", want: meter.Fault{Step: meter.StepAnswer, Status: 500}, text: "the task answered 500 Internal Server Error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, Config{})
			var tasks []string
			if c.addr != "" {
				tasks = []string{"a=" + c.addr}
			}
			table := r.table(50*time.Millisecond, nil, tasks...)
			table.Routes[0].RoutePolicy = c.policy
			r.Apply(table)
			if res, err := newTestClient(t).Get(r.url + "/some/path?token=secret"); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			var faults []meter.Fault
			eventually(t, "an explanation", func() bool { // it comes after the answer
				faults = r.Faults().Failures(testEnv, -1)
				return len(faults) > 0 && r.Meter(testEnv).Requests > 0 && r.Meter(testEnv).InFlight == 0
			})
			f := faults[0]
			want := c.want
			want.Env, want.Service, want.Route, want.Task = testEnv, "web", "*/", c.task
			want.Method, want.Host, want.Path = "GET", strings.TrimPrefix(r.url, "http://"), "/some/path"
			if c.task != "" {
				want.Release = 1
			}
			want.Time, want.ID, want.Error, want.Waited = f.Time, f.ID, f.Error, f.Waited
			if f != want || len(faults) != 1 || f.ID == "" || f.Error == "" || !strings.Contains(f.Error, c.text) || f.Time.IsZero() {
				t.Errorf("%d explanations: %+v\nexpected %+v about %q", len(faults), f, want, c.text)
			}
			if n := r.Meter(testEnv); n.Requests != 1 || n.Failed != 1 || n.InFlight != 0 {
				t.Errorf("counted as %+v", n)
			}
		})
	}
}

// TestMaintenanceIsNoFailure holds that a page that somebody has asked for makes no deployment look bad.
func TestMaintenanceIsNoFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	r := run(t, Config{AccessLog: path})
	for i, status := range []int{0, 404} {
		r.policed(api.RoutePolicy{Maintenance: &api.Maintenance{Status: status, Body: "back at noon"}}, "a="+backend(t, says("hello")))
		want(t, newTestClient(t), r.url, cmp.Or(status, 503), "back at noon")
		r.counted(uint64(i + 1))
	}
	if c := r.Meter(testEnv); c.Failed != 0 || c.Status[5] != 1 || c.Status[4] != 1 {
		t.Errorf("counted as %+v", c)
	}
	if f := r.Faults().Failures(testEnv, -1); len(f) != 0 {
		t.Errorf("explained as %+v", f)
	}
	r.stop()
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), `"service":"web","route":"*/","failure":"maintenance"`) != 2 {
		t.Errorf("logged as %s, %v", b, err)
	}
}

// TestLogHasWhatNoServiceGot looks for requests that no route takes, and what is no request, in the access log.
func TestLogHasWhatNoServiceGot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	r := run(t, Config{AccessLog: path, HeadTimeout: time.Second, HeadBytes: 1 << 10})
	r.Apply(&api.RouteTable{Version: 1})
	addr := strings.TrimPrefix(r.url, "http://")
	cases := []struct {
		send string
		want string // after id and client
	}{
		{"GET /nobody?token=secret HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
			`"method":"GET","host":"a.example","path":"/nobody","proto":"HTTP/1.1","status":404,"in":73,`},
		{"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nConnection: close\r\n\r\n", `"method":"CONNECT","host":"a.example:443","proto":"HTTP/1.1","status":405,`},
		{"GET /a%2F..%2Fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", `"method":"GET","host":"a","path":"/a%2F..%2Fb","proto":"HTTP/1.1","status":400,`},
		{"GET /twice HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", `"method":"GET","path":"/twice","proto":"HTTP/1.1","status":400,`},
		{"GET /late HTTP/1.1\r\nHost:", `"proto":"HTTP/1.1","status":408,"in":25,`},
		{"GET /long HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2000) + "\r\n\r\n", `"proto":"HTTP/1.1","status":431,`},
	}
	for _, c := range cases {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, c.send)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	r.stop()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log := string(b)
	for _, c := range cases {
		if strings.Count(log, c.want) != 1 {
			t.Errorf("%.40q is not logged once with %s", c.send, c.want)
		}
	}
	if n := len(cases); strings.Count(log, "\n") != n || strings.Count(log, `"client":"127.0.0.1",`) != n || strings.Contains(log, `"service"`) || strings.Contains(log, "secret") {
		t.Errorf("logged as\n%s", log)
	}
}

// TestRefusedConnectionIsExplained is the same for a connection that is no HTTP.
func TestRefusedConnectionIsExplained(t *testing.T) {
	r := run(t, Config{})
	port := freePort(t)
	r.Apply(r.table(50*time.Millisecond, []api.Listener{{HostIP: "127.0.0.1", Port: port, Protocol: api.ProtoTCP, Pool: poolName}}, "a="+loopback(freePort(t))))
	c, err := net.Dial("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.Copy(io.Discard, c)
	eventually(t, "an explanation", func() bool { return len(r.Faults().Failures(testEnv, 1)) > 0 })
	f := r.Faults().Failures(testEnv, 1)[0]
	if f.Route != loopback(port) || f.Task != "a" || f.Step != meter.StepConnect || f.Failure != meter.Refused || !strings.Contains(f.Error, "connection refused") {
		t.Errorf("explained as %+v", f)
	}
}

// TestRefusalIsNamedWhenTheClientLeaves lets a client reset its connection while it is held for a task that refused.
func TestRefusalIsNamedWhenTheClientLeaves(t *testing.T) {
	r := run(t, Config{})
	r.Apply(r.table(time.Minute, nil, "a="+loopback(freePort(t))))
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "a held request", func() bool { return r.Meter(testEnv).Held == 1 })
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	eventually(t, "an explanation", func() bool { return len(r.Faults().Failures(testEnv, 1)) > 0 })
	f := r.Faults().Failures(testEnv, 1)[0]
	if f.Task != "a" || f.Step != meter.StepConnect || f.Failure != meter.NoTarget || f.Status != 0 ||
		!strings.HasPrefix(f.Error, "the client left while it waited; no task accepts connections: dial tcp") {
		t.Errorf("explained as %+v", f)
	}
}

func TestReopenLog(t *testing.T) {
	if err := run(t, Config{}).ReopenLog(); err != nil {
		t.Errorf("without a log: %v", err)
	}
	path := filepath.Join(t.TempDir(), "access.log")
	r := run(t, Config{AccessLog: path})
	r.route("a=" + backend(t, says("hello")))
	ask := func() {
		before := r.Meter(testEnv).Requests
		want(t, newTestClient(t), r.url, 200, "hello")
		eventually(t, "a count", func() bool { return r.Meter(testEnv).Requests > before })
	}
	lines := func(path string) int {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "\n")
	}
	ask()
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line in the file that was moved", func() bool {
		if err := r.ReopenLog(); err != nil {
			t.Fatal(err)
		}
		return lines(path+".old")+lines(path) == 1
	})
	ask()
	eventually(t, "a line in the new file", func() bool { return lines(path)+lines(path+".old") == 2 && lines(path) > 0 })
}
