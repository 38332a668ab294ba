package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// meterEvery is how often the processes of the balancer are asked: a new one counts for the test from then on.
const meterEvery = 100 * time.Millisecond

// balancerMeter adds up what all processes of a node's balancer count while one follows another.
type balancerMeter struct {
	env    api.EnvRef
	socket string
	stop   chan struct{}
	ended  sync.WaitGroup

	mu     sync.Mutex
	counts map[string]balancerCount // by start of a process
	builds map[string]bool
}

type balancerCount struct {
	Requests uint64        `json:"requests"`
	Failed   uint64        `json:"failed"`
	Longest  time.Duration `json:"longest"`
}

// meterBalancer begins to count the requests of an environment.
func (n *Node) meterBalancer(t *testing.T, env api.EnvRef) *balancerMeter {
	t.Helper()
	m := &balancerMeter{env: env, socket: n.balancerSocket(), stop: make(chan struct{}), counts: map[string]balancerCount{}, builds: map[string]bool{}}
	if err := m.read(m.socket); err != nil {
		t.Fatal(err)
	}
	m.ended.Go(func() {
		tick := time.NewTicker(meterEvery)
		defer tick.Stop()
		for {
			select {
			case <-m.stop:
				return
			case <-tick.C:
				_ = m.readAll() // one that has just ended, or begins, does not answer
			}
		}
	})
	t.Cleanup(m.halt)
	return m
}

func (n *Node) balancerSocket() string {
	return filepath.Join("/run/ikada-"+instance(n.Dir), "proxy", "sock")
}

// readAll asks the process that accepts, and those that it replaced.
func (m *balancerMeter) readAll() error {
	err := m.read(m.socket)
	for _, old := range m.retiring() {
		_ = m.read(old)
	}
	return err
}

// retiring gives the sockets of processes that were replaced and have not ended.
func (m *balancerMeter) retiring() []string {
	var out []string
	all, _ := filepath.Glob(m.socket + ".old-*")
	for _, s := range all {
		if filepath.Ext(s) != ".fd" {
			out = append(out, s)
		}
	}
	return out
}

// read asks one process, over one connection: a name may lead to another process a moment later.
func (m *balancerMeter) read(socket string) error {
	transport := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	call := func(method, path string, out any) error {
		req, err := http.NewRequest(method, "http://balancer"+path, nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		return json.NewDecoder(resp.Body).Decode(out)
	}
	var st struct{ Boot, Build string }
	var got balancerCount
	q := url.Values{"name": {"e2e"}, "app": {m.env.App}, "env": {m.env.Env}}
	if err := errors.Join(call(http.MethodGet, "/status", &st), call(http.MethodPut, "/window?"+q.Encode(), &got)); err != nil {
		return fmt.Errorf("ask balancer: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.builds[st.Build] = true
	if before := m.counts[st.Boot]; got.Requests >= before.Requests {
		m.counts[st.Boot] = got
	}
	return nil
}

func (m *balancerMeter) halt() {
	select {
	case <-m.stop:
	default:
		close(m.stop)
	}
	m.ended.Wait()
}

// sum gives the requests so far, and the number of processes that counted them.
func (m *balancerMeter) sum() (all balancerCount, processes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.counts {
		all.Requests += c.Requests
		all.Failed += c.Failed
		all.Longest = max(all.Longest, c.Longest)
	}
	return all, len(m.counts)
}

// balancerPID gives the process that accepts.
func (n *Node) balancerPID(t *testing.T) (pid int) {
	t.Helper()
	b, err := os.ReadFile(n.balancerSocket() + ".pid")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	_, _ = fmt.Sscan(string(b), &pid) // 0 while there is none
	return pid
}

// balancerSaid gives the lines of the balancer's log that tell of a request that failed.
func (n *Node) balancerSaid(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.Dir, "proxy", "proxy.log"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "request failed") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
