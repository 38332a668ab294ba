// Command demo sends requests to the demonstration's app until it is interrupted, checks every reply, and tells what
// it met. Half of its workers keep their connection, the others open a new one for each request.
//
//	demo -url http://127.0.0.1:18080/ -want v1,v2
//
// A request has failed when it got no answer, a status other than 200, or a body that names no version or one that
// is not wanted. Exit code 1: a request failed, or a wanted version never answered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	workers   = 16
	patience  = 10 * time.Second // longest wait for one answer
	maxAnswer = 4 << 10          // bytes
)

var greeting = regexp.MustCompile(`^hello (\S+) from \S+\n$`)

func main() {
	url := flag.String("url", "http://127.0.0.1:18080/", "what to ask for")
	want := flag.String("want", "v1", "versions that must answer, and no other, separated by commas")
	rate := flag.Int("rate", 1000, "requests a second")
	length := flag.Duration("for", 0, "how long; 0 is until interrupted")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *length)
		defer cancel()
	}
	t := tally{wanted: strings.Split(*want, ","), versions: map[string]int{}, failures: map[string]int{}}
	began := time.Now()
	t.drive(ctx, *url, time.Second*workers/time.Duration(max(*rate, 1)))
	t.print(time.Since(began))
	if !t.good() {
		os.Exit(1)
	}
}

// tally is what the requests met. Safe for concurrent use until drive has returned.
type tally struct {
	wanted []string

	mu       sync.Mutex
	requests int
	versions map[string]int // answers by version
	failures map[string]int // by what was wrong
	longest  time.Duration
}

// drive runs the workers, each of which asks once every pause, until ctx ends. A request that is under way then is
// waited for, so that none is counted as failed because the measuring stopped.
func (t *tally) drive(ctx context.Context, url string, pause time.Duration) {
	var group sync.WaitGroup
	for i := range workers {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: i%2 == 1}}
		group.Go(func() {
			defer client.CloseIdleConnections()
			ticker := time.NewTicker(pause)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					t.ask(client, url)
				}
			}
		})
	}
	group.Wait()
}

func (t *tally) ask(client *http.Client, url string) {
	began := time.Now()
	version, err := get(client, url)
	took := time.Since(began)
	if err == nil && !slices.Contains(t.wanted, version) {
		err = fmt.Errorf("answered by %s", version)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	t.longest = max(t.longest, took)
	if err != nil {
		t.failures[err.Error()]++
		return
	}
	t.versions[version]++
}

// get gives the version that answered.
func get(client *http.Client, url string) (string, error) {
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return "", err
	}
	if r.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %s", r.Status)
	}
	match := greeting.FindSubmatch(body)
	if match == nil {
		return "", fmt.Errorf("answer %.80q", body)
	}
	return string(match[1]), nil
}

func (t *tally) failed() (n int) {
	for _, k := range t.failures {
		n += k
	}
	return n
}

func (t *tally) good() bool {
	return t.failed() == 0 && !slices.ContainsFunc(t.wanted, func(v string) bool { return t.versions[v] == 0 })
}

func (t *tally) print(took time.Duration) {
	fmt.Printf("sent %d requests in %.1f s, %d failed, longest wait %d ms\n",
		t.requests, took.Seconds(), t.failed(), t.longest.Milliseconds())
	var parts []string
	for _, v := range t.wanted {
		parts = append(parts, fmt.Sprintf("%d by %s", t.versions[v], v))
	}
	fmt.Printf("answered: %s\n", strings.Join(parts, ", "))
	for _, why := range slices.Sorted(maps.Keys(t.failures)) {
		fmt.Printf("failed %d times: %s\n", t.failures[why], why)
	}
}
