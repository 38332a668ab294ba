package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// Load is a number of clients that ask one URL again and again and check every answer: status 200 and one of the
// bodies that are allowed.
type Load struct {
	url     string
	allowed []string
	client  *http.Client
	stop    chan struct{}
	ended   sync.WaitGroup

	mu      sync.Mutex
	seen    map[string]int
	failed  []string
	total   int
	longest time.Duration
	slow    []time.Duration // what took more than 50 ms
}

// LoadResult is what a load met.
type LoadResult struct {
	Total   int
	Failed  []string // a sentence each
	Seen    map[string]int
	Longest time.Duration
}

// StartLoad starts a load of HTTP/1.1 clients with kept connections, about 100 requests a second each; it ends at
// the latest with the test.
func StartLoad(t *testing.T, clients int, url string, allowed ...string) *Load {
	return startLoad(t, clients, &http.Transport{MaxIdleConnsPerHost: clients}, url, allowed)
}

// StartLoadH2C is StartLoad over HTTP/2 without TLS, all clients on one connection.
func StartLoadH2C(t *testing.T, clients int, url string, allowed ...string) *Load {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return startLoad(t, clients, &http.Transport{Protocols: protocols}, url, allowed)
}

func startLoad(t *testing.T, clients int, transport *http.Transport, url string, allowed []string) *Load {
	l := &Load{url: url, allowed: allowed, stop: make(chan struct{}), seen: map[string]int{},
		client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	for range clients {
		l.ended.Go(l.run)
	}
	t.Cleanup(func() {
		l.halt()
		transport.CloseIdleConnections()
	})
	return l
}

func (l *Load) run() {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			l.ask()
		}
	}
}

func (l *Load) ask() {
	began := time.Now()
	body, err := l.once()
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	l.longest = max(l.longest, took)
	if took > 50*time.Millisecond {
		l.slow = append(l.slow, took)
	}
	if err != nil {
		l.failed = append(l.failed, fmt.Sprintf("%s after %s: %v", began.Format("15:04:05.000"), took.Round(time.Millisecond), err))
		return
	}
	l.seen[body]++
}

func (l *Load) once() (string, error) {
	resp, err := l.client.Get(l.url)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %.200s", resp.Status, b)
	case !slices.Contains(l.allowed, string(b)):
		return "", fmt.Errorf("unexpected answer %.200q", b)
	}
	return string(b), nil
}

// Seen tells how often an answer came so far.
func (l *Load) Seen(body string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[body]
}

// Slow tells how many requests took longer so far, for 50 ms and more.
func (l *Load) Slow(than time.Duration) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, took := range l.slow {
		if took > than {
			n++
		}
	}
	return n
}

func (l *Load) halt() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.ended.Wait()
}

// Stop ends the load and gives what it met.
func (l *Load) Stop() LoadResult {
	l.halt()
	return LoadResult{Total: l.total, Failed: l.failed, Seen: l.seen, Longest: l.longest}
}

// StopClean ends the load and fails the test if it met a failure or fewer requests than at least.
func (l *Load) StopClean(t *testing.T, least int) LoadResult {
	t.Helper()
	r := l.Stop()
	if len(r.Failed) > 0 {
		t.Errorf("%d of %d requests failed; first: %v", len(r.Failed), r.Total, r.Failed[:min(5, len(r.Failed))])
	}
	if r.Total < least {
		t.Errorf("load made %d requests, expected %d at least", r.Total, least)
	}
	return r
}

// get asks a URL once and gives status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	code, body, err := ask(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return code, body
}

// ask asks a URL once on a connection of its own.
func ask(url string) (int, string, error) {
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}
