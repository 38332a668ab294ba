package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// dialer opens a connection; Docker's lives in a network namespace of its own.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// loadConns is how many connections a load keeps.
const loadConns = 8

// load sends requests at a steady rate and checks every answer.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	requests int
	failed   int
	first    error
	slowest  time.Duration
}

// startLoad sends rate requests a second to url over a few kept connections, until stop.
func startLoad(ctx context.Context, url string, rate int, dial dialer) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	transport := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: loadConns}
	c := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	due := make(chan struct{}, rate) // what could not be sent in time is sent late, not left out
	l.done.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case due <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	})
	var senders sync.WaitGroup
	for range loadConns {
		senders.Go(func() {
			for range due {
				began := time.Now()
				err := hello(context.WithoutCancel(ctx), c, url)
				l.count(time.Since(began), err)
			}
		})
	}
	l.done.Go(func() {
		senders.Wait()
		transport.CloseIdleConnections()
	})
	return l
}

// hello asks once and checks the answer.
func hello(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "hello v") {
		return fmt.Errorf("status %d, %.100q", resp.StatusCode, body)
	}
	return nil
}

func (l *load) count(took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	l.slowest = max(l.slowest, took)
	if err != nil {
		l.failed++
		if l.first == nil {
			l.first = err
		}
	}
}

// stop ends the load and tells how it went; err is that of the first request that failed.
func (l *load) stop() (told string, err error) {
	l.cancel()
	l.done.Wait()
	return fmt.Sprintf("%d requests, %d failed, longest wait %s", l.requests, l.failed, seconds(l.slowest)), l.first
}
