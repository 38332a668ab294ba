package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faultTraffic is load on a service from clients that keep their connections.
type faultTraffic struct {
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	served  atomic.Int64
	mu      sync.Mutex
	failed  []faultFailure
	longest time.Duration
}

// faultFailure is a request that got no good answer.
type faultFailure struct {
	began, ended time.Time
	err          error
}

// drive begins to load url from a number of clients, each with a pause between its requests.
func drive(t testing.TB, url string, clients int, pause time.Duration) *faultTraffic {
	ctx, cancel := context.WithCancel(context.Background())
	f := &faultTraffic{cancel: cancel}
	for range clients {
		f.wg.Go(func() { f.client(ctx, url, pause) })
	}
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *faultTraffic) client(ctx context.Context, url string, pause time.Duration) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	for ctx.Err() == nil {
		began := time.Now()
		err := request(c, url)
		took := time.Since(began)
		f.served.Add(1)
		f.mu.Lock()
		f.longest = max(f.longest, took)
		if err != nil {
			f.failed = append(f.failed, faultFailure{began, began.Add(took), err})
		}
		f.mu.Unlock()
		wait := pause
		if err != nil {
			wait = max(wait, 5*time.Millisecond)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// request makes one request; every answer but 200 is an error.
func request(c *http.Client, url string) error {
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return err
}

// stop ends the load and gives the failed requests.
func (f *faultTraffic) stop() []faultFailure {
	f.cancel()
	f.wg.Wait()
	return f.failed
}

// stopClean ends the load; no request may have failed.
func (f *faultTraffic) stopClean(t *testing.T) {
	t.Helper()
	failed := f.stop()
	for _, r := range failed[:min(len(failed), 10)] {
		t.Errorf("request failed at %s after %v: %v", r.began.Format(time.StampMilli), r.ended.Sub(r.began), r.err)
	}
	t.Logf("%d requests, %d failed, longest %v", f.served.Load(), len(failed), f.longest.Round(time.Millisecond))
}
