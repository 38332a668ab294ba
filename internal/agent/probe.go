package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
)

// settleTime is how long a task without any check must run to count as ready.
const settleTime = time.Second

// How soon, and how often, a task that is not ready yet says why.
const (
	notReadyFirst = 2 * time.Second
	notReadyAgain = 5 * time.Second
)

// check is a task's health check, made ready to run.
type check struct {
	name          string                      // for messages: "GET http://…", "connect to …", "check command"
	port          uint16                      // that it connects to, 0 for a command
	run           func(context.Context) error // nil: no check, running is enough
	timeout       time.Duration
	interval      time.Duration // once ready
	retries       int
	first         time.Duration // pause after the first failure until ready; doubles
	startInterval time.Duration // the longest such pause
	deadline      time.Duration // to be ready by
	settle        time.Duration
}

// newCheck takes the spec's check; without one, ikada's own: that the first port accepts connections, and where
// there is no port, that the process keeps running.
func newCheck(t *task, spec api.ServiceSpec) *check {
	h, own := spec.Health, false
	if h == nil {
		own = true
		h = &api.HealthSpec{Interval: api.DefaultProbeInterval, Timeout: api.DefaultProbeTimeout, StartPeriod: api.DefaultStartPeriod}
		if spec.FirstPort() != 0 {
			h.TCP = &api.TCPProbe{}
		}
	}
	c := &check{
		timeout:       cmp.Or(h.Timeout, api.DefaultTimeout).Std(),
		interval:      cmp.Or(h.Interval, api.DefaultInterval).Std(),
		retries:       cmp.Or(h.Retries, api.DefaultRetries),
		first:         4 * time.Millisecond,
		startInterval: cmp.Or(h.StartInterval, api.DefaultStartInterval).Std(),
	}
	c.deadline = h.Deadline()
	t.mu.Lock()
	address := t.status.Address
	t.mu.Unlock()
	port := func(p uint16) string {
		return net.JoinHostPort(address, strconv.Itoa(int(p)))
	}
	switch {
	case h.Disabled:
		c.name = "no check"
	case h.HTTP != nil:
		c.port = cmp.Or(h.HTTP.Port, spec.FirstPort())
		url := "http://" + port(c.port) + "/" + strings.TrimPrefix(h.HTTP.Path, "/")
		c.name = "GET " + url
		c.run = func(ctx context.Context) error { return probeHTTP(ctx, url, h.HTTP.Host) }
	case h.TCP != nil:
		c.port = cmp.Or(h.TCP.Port, spec.FirstPort())
		addr := port(c.port)
		c.name = "connect to " + addr
		c.run = func(ctx context.Context) error { return probeTCP(ctx, addr) }
	case len(h.Command) > 0:
		c.name = "check command"
		c.first = 50 * time.Millisecond // a process each time: dearer than a connection
		c.run = func(ctx context.Context) error { return t.probeCommand(ctx, h.Command) }
	default:
		c.name = "no check"
		if own {
			c.settle = settleTime
		}
	}
	return c
}

// once runs the check once, within its time limit.
func (c *check) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.run(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", c.timeout)
	}
	return err
}

// failure says in words why a check failed. Where nobody answers at the port it tells where the task listens instead,
// which is what most often is wrong with an app's first release.
func (t *task) failure(c *check, err error) string {
	text := fmt.Sprintf("%s: %v", c.name, err)
	if c.port == 0 || !errors.Is(err, syscall.ECONNREFUSED) {
		return text
	}
	text = fmt.Sprintf("%s: %v", c.name, syscall.ECONNREFUSED) // without the address once more
	listens, err := t.a.cfg.Network.Listening(t.task.ID)
	if err != nil {
		return text // it may have ended meanwhile
	}
	return text + "; " + listensOn(c.port, listens)
}

// listensOn says where a task listens that is not reached at a port.
func listensOn(port uint16, listens []netip.AddrPort) string {
	if len(listens) == 0 {
		return "nothing in it listens on a TCP port"
	}
	var all []string
	for _, l := range listens {
		if l.Port() == port && l.Addr().IsLoopback() {
			return fmt.Sprintf("it listens on %s, where only itself reaches it: let it listen on 0.0.0.0", l)
		}
		text := l.String()
		if l.Addr().IsUnspecified() {
			text = fmt.Sprintf("port %d", l.Port())
		}
		if !slices.Contains(all, text) { // both 0.0.0.0 and [::]
			all = append(all, text)
		}
	}
	return "it listens on " + strings.Join(all, ", ")
}

func probeHTTP(ctx context.Context, url, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Host = host
	req.Header.Set("User-Agent", "ikada-health")
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the URL, which the check's name holds
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("status %d: %q", resp.StatusCode, strings.TrimSpace(string(body)))
	}
	return nil
}

func probeTCP(ctx context.Context, addr string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (t *task) probeCommand(ctx context.Context, command []string) error {
	var out tail
	code, err := t.a.cfg.Runtime.Exec(ctx, t.task.ID, Exec{Args: command, Stdout: &out, Stderr: &out})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("exit code %d: %q", code, strings.TrimSpace(out.String()))
	}
	return nil
}

// tail keeps the last bytes written to it.
type tail struct{ buf bytes.Buffer }

const tailBytes = 300

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - tailBytes; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.buf.String() }
