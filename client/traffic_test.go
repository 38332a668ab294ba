package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
)

// balancer answers for failures as the server does, over a connection that synctest can see through.
type balancer struct {
	mu   sync.Mutex
	kept []api.Failure // oldest first
	down bool
}

func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, errors.New("connection refused")
	}
	q := r.URL.Query()
	last, err := strconv.Atoi(q.Get("n"))
	if err != nil {
		return nil, err
	}
	var since time.Time
	if text := q.Get("since"); text != "" {
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return nil, err
		}
	}
	list := []api.Failure{}
	for _, f := range slices.Backward(b.kept) {
		if len(list) < last && !f.Time.Before(since) {
			list = append(list, f)
		}
	}
	body, err := json.Marshal(list)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body))}, err
}

// TestFollowFailures lets failures come while they are followed: in the same moment, late, and while the server is away.
func TestFollowFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &balancer{}
		c := &Client{base: &url.URL{Scheme: "http", Host: "ikada"}, http: &http.Client{Transport: b}}
		fail := func(id string, at time.Time) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.kept = append(b.kept, api.Failure{ID: id, Time: at.UTC()})
		}
		leave := func(down bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.down = down
		}
		began := time.Now()
		for i, id := range []string{"a", "b", "c", "d"} {
			fail(id, began.Add(time.Duration(i-4)*100*time.Millisecond))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var told []string
		ended := make(chan error, 1)
		go func() {
			ended <- c.FollowFailures(ctx, api.EnvRef{App: "shop", Env: "production"}, api.FailureQuery{Last: 2}, func(f api.Failure) error {
				told = append(told, f.ID)
				return nil
			})
		}()
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(told, want) {
				t.Fatalf("told of %v, expected %v", told, want)
			}
		}
		expect("c", "d")
		time.Sleep(10 * time.Second)
		expect("c", "d")
		now := time.Now()
		fail("e", now)
		time.Sleep(time.Second)
		expect("c", "d", "e")
		fail("f", now) // of the same moment, and told later
		fail("g", now.Add(time.Millisecond))
		time.Sleep(time.Second)
		expect("c", "d", "e", "f", "g")
		leave(true)
		fail("h", time.Now())
		time.Sleep(30 * time.Second)
		leave(false)
		time.Sleep(time.Second)
		expect("c", "d", "e", "f", "g", "h")
		leave(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if err := <-ended; !api.IsKind(err, api.Unavailable) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestFollowFailuresEndsWithItsCaller(t *testing.T) {
	b := &balancer{kept: []api.Failure{{ID: "a"}}}
	c := &Client{base: &url.URL{Scheme: "http", Host: "ikada"}, http: &http.Client{Transport: b}}
	q := api.FailureQuery{Last: 1}
	enough := errors.New("enough")
	if err := c.FollowFailures(t.Context(), api.EnvRef{}, q, func(api.Failure) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("ended with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := c.FollowFailures(ctx, api.EnvRef{}, q, func(api.Failure) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
