package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// badRelease is a release that passes its checks and does harm.
type badRelease struct {
	name   string
	env    string        // what the bad one has in its environment
	memory string        // limit of each task
	after  time.Duration // it is not bad before that
	file   string        // nor, if this is set, before the file is there
	cause  string        // what the reason must tell
}

func badReleases() []badRelease {
	const file = "/var/crash/now"
	crash := badRelease{name: "crashes once it has taken over", env: "CRASH_IF: " + file, file: file, cause: "crashed"}
	if os.Getenv("IKADA_BENCH_DELIVERY") != "" {
		crash = badRelease{name: "crashes after 1m0s", env: "CRASH: 1m", after: time.Minute, cause: "crashed"}
	}
	return []badRelease{
		{name: "fails a fifth of its requests", env: `FAIL: "20"`, cause: "requests failed"},
		{name: "is 3 times slower", env: "DELAY: 60ms", cause: "waited"},
		{name: "leaks memory until it is killed", env: `LEAK_EACH: "512"`, memory: "96m", cause: "memory"},
		{name: "serves only errors", env: `FAIL: "100"`, cause: "100 % of"},
		{name: "closes connections without an answer", env: `DROP: "100"`, cause: "requests failed"},
		crash,
	}
}

// witness is clients that note every reply.
type witness struct {
	stop  chan struct{}
	ended sync.WaitGroup

	mu      sync.Mutex
	total   int
	bad     int       // not as the good release answers
	badSeen int       // replies from the first bad one to the last
	first   time.Time // bad reply
	last    time.Time
	since   int    // replies since the last bad one
	harms   string // whoever answers this does harm by that, though the answer is right
}

// watchReplies asks a URL about 200 times a second. The answer that does harm is bad too: how long it took would tell of
// the machine as well.
func watchReplies(t *testing.T, url, harms string) *witness {
	const clients = 4
	w := &witness{stop: make(chan struct{}), harms: harms}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	for range clients {
		w.ended.Go(func() {
			tick := time.NewTicker(clients * 5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-w.stop:
					return
				case <-tick.C:
					w.ask(client, url)
				}
			}
		})
	}
	t.Cleanup(w.end)
	return w
}

func (w *witness) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
}

func (w *witness) ask(client *http.Client, url string) {
	ok := false
	if resp, err := client.Get(url); err == nil {
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		ok = err == nil && resp.StatusCode == http.StatusOK && len(b) > 0 && string(b) != w.harms
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total++
	w.since++
	if ok {
		return
	}
	if w.bad++; w.first.IsZero() {
		w.first, w.since = time.Now(), 1
	}
	w.badSeen += w.since
	w.last, w.since = time.Now(), 0
}

// quiet waits until no bad reply has come for a while.
func (w *witness) quiet(t *testing.T, limit time.Duration) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		w.mu.Lock()
		over := w.since > 300
		w.mu.Unlock()
		if over {
			return
		}
	}
	t.Errorf("bad replies still come after %s", limit)
}

// TestBadReleases has releases that pass their checks taken back by themselves, under load, with the reason.
// IKADA_BENCH_DELIVERY=1 prints how fast as a table (make bench-delivery).
func TestBadReleases(t *testing.T) {
	var mu sync.Mutex
	rows := map[string]string{}
	t.Run("cases", func(t *testing.T) {
		for _, c := range badReleases() {
			for _, strategy := range []string{"rolling", "canary 10"} {
				if strategy != "rolling" && os.Getenv("IKADA_BENCH_DELIVERY") == "" && c.env != `FAIL: "20"` && c.env != `DROP: "100"` {
					continue
				}
				t.Run(c.name+"/"+strategy, func(t *testing.T) {
					if os.Getenv("IKADA_BENCH_DELIVERY") == "" {
						t.Parallel()
					}
					row := takenBack(t, c, strategy)
					mu.Lock()
					defer mu.Unlock()
					rows[c.name+strategy] = row
				})
			}
		}
	})
	out := "| release | strategy | taken back after the first bad reply | bad replies | of all meanwhile | reason |\n|---|---|---|---|---|---|\n"
	for _, c := range badReleases() {
		for _, strategy := range []string{"rolling", "canary 10"} {
			out += rows[c.name+strategy]
		}
	}
	t.Log("\n" + out)
}

// takenBack deploys a good release, then the bad one, and gives what became of it as a row of the table.
func takenBack(t *testing.T, c badRelease, strategy string) string {
	a := shared.App(t)
	way := "parallelism: 0"
	if strategy != "rolling" {
		way = "type: canary, steps: [{weight: 10, pause: 2m}]"
	}
	memory := c.memory
	if memory == "" {
		memory = "256m"
	}
	volumes, declared := "", ""
	if c.file != "" {
		volumes, declared = `volumes: ["crash:`+filepath.Dir(c.file)+`"]`, "volumes: {crash: {}}"
	}
	compose := func(version, env string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    environment: {VERSION: ` + version + `, ` + env + `}
    ` + volumes + `
    deploy: {replicas: 2, resources: {limits: {memory: ` + memory + `}}}
    stop_grace_period: 3s
    x-ikada:
      health: {http: /healthz, interval: 1s, timeout: 10s, retries: 3, start_period: 8s}
      strategy: {monitor: 2s, drain: 2s, ` + way + `}
` + declared + "\n")
	}
	harms, good := "", `X: "1"`
	if strings.HasPrefix(c.env, "DELAY") {
		harms, good = "bad", "DELAY: 20ms"
	}
	compose("good", good)
	a.Deploy()
	w := watchReplies(t, a.URL("/"), harms)
	time.Sleep(10 * time.Second) // what the new release is compared with
	w.mu.Lock()
	if w.bad > w.total/100 {
		t.Errorf("the good release gave %d bad replies of %d", w.bad, w.total)
	}
	w.total, w.bad, w.badSeen, w.first, w.since = 0, 0, 0, time.Time{}, 0
	w.mu.Unlock()
	compose("bad", c.env)
	a.Deploy("--detach")
	if c.file != "" {
		a.Run("watch").Want(t, exitDone, "succeeded")
		a.Shell("web", "touch "+c.file)
	}
	n := uint64(2)
	limit := patience + c.after*3
	var d api.Deployment
	for end := time.Now().Add(limit); d.State != api.DeployRolledBack; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("deployment %d is %s, not rolled back; %d bad replies of %d; verdicts %v", d.Number, d.State, w.bad, w.total, d.Verdicts)
		}
		var err error
		if d, err = a.Node.Client(t).Deployment(t.Context(), a.Ref(), n); err != nil {
			t.Fatal(err)
		}
	}
	w.quiet(t, patience)
	w.end()
	w.ended.Wait()
	if !strings.Contains(d.Reason, c.cause) {
		t.Errorf("reason is %q, expected it to tell of %q", d.Reason, c.cause)
	}
	if got := a.Get("/"); got != "good" {
		t.Errorf("the app answers %q", got)
	}
	took := w.last.Sub(w.first)
	share := float64(w.bad) / float64(max(w.badSeen, 1))
	if strategy != "rolling" && share > 0.25 {
		t.Errorf("%.0f %% of the requests were hurt, the canary's share is 10 %%", 100*share)
	}
	return fmt.Sprintf("| %s | %s | %.1f s | %d | %.0f %% of %d | %s |\n", c.name, strategy, took.Seconds(), w.bad, 100*share, w.badSeen, d.Reason)
}

// TestWarmRollback goes back to tasks that are still ready: none is started, no request fails, and soon none reaches
// the release that is left. With IKADA_BENCH_DELIVERY=1 that must take less than 300 ms.
func TestWarmRollback(t *testing.T) {
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    deploy: {replicas: 2}
    x-ikada: {health: {http: /healthz}, strategy: {monitor: 300ms, parallelism: 0}}
`)
	}
	rounds := 1
	if os.Getenv("IKADA_BENCH_DELIVERY") != "" {
		rounds = 11
	}
	compose("v1")
	a.Deploy()
	var all []time.Duration
	for range rounds {
		before := a.Tasks("web")
		compose("v2")
		a.Deploy()
		all = append(all, untilGone(t, a, "v2", func() {
			if _, err := a.Node.Client(t).Rollback(t.Context(), a.Ref(), api.RollbackRequest{}); err != nil {
				t.Fatal(err)
			}
		}))
		Until(t, 20*time.Second, func() string {
			after := a.Tasks("web")
			for _, task := range before {
				if !slices.ContainsFunc(after, func(v api.TaskView) bool { return v.ID == task.ID && v.Desired == api.WantRunning }) {
					return task.Name() + " does not serve again"
				}
			}
			return ""
		})
	}
	slices.Sort(all)
	t.Logf("%d rollbacks by hand to warm tasks: %v at the median and %v at most until no request reached the release that was left",
		rounds, all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
	if m := all[len(all)/2]; rounds > 1 && m > 300*time.Millisecond {
		t.Errorf("%v at the median, more than 300 ms", m)
	}
}

// untilGone puts load on an app, has something done, and gives the time from there to the last answer of a version that
// is to go. No request may fail meanwhile.
func untilGone(t *testing.T, a *App, version string, do func()) time.Duration {
	t.Helper()
	load := StartLoad(t, 12, a.URL("/"), "v1", "v2")
	Until(t, 20*time.Second, func() string {
		if n := load.Seen(version); n < 50 {
			return fmt.Sprintf("%d answers of %s", n, version)
		}
		return ""
	})
	var last time.Time // answer of the version
	seen, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(seen)
		quiet, limit := time.Now(), time.Now().Add(time.Minute)
		for n := 0; time.Since(quiet) < time.Second && time.Now().Before(limit); time.Sleep(time.Millisecond) {
			if now := load.Seen(version); now != n {
				n, last, quiet = now, time.Now(), time.Now()
			}
			select {
			case <-done:
			default:
				quiet = time.Now() // it is being asked for
			}
		}
	}()
	began := time.Now()
	func() {
		defer close(done)
		do()
	}()
	<-seen
	load.StopClean(t, 10)
	return last.Sub(began)
}

// TestColdRollback goes back to a release of which nothing is left but its image, beside a deploy of that very image, for
// which nothing is built: both start the same tasks, so the one is to take no longer than the other. With
// IKADA_BENCH_DELIVERY=1 it compares the medians.
func TestColdRollback(t *testing.T) {
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    deploy: {replicas: 2}
    x-ikada: {health: {http: /healthz}, strategy: {monitor: 300ms, parallelism: 0, warm: 0s}}
`)
	}
	rounds := 1
	if os.Getenv("IKADA_BENCH_DELIVERY") != "" {
		rounds = 7
	}
	ways := []string{"rollback", "deploy"}
	took := map[string][]time.Duration{}
	compose("v1")
	a.Deploy()
	for range rounds {
		for _, way := range ways {
			compose("v2")
			a.Deploy()
			for _, task := range a.Tasks("web") {
				if task.Desired == api.WantWarm {
					t.Fatalf("%s of release %d is warm", task.Name(), task.Release)
				}
			}
			compose("v1")
			took[way] = append(took[way], untilGone(t, a, "v2", func() {
				if r := a.Run(way, "--detach"); r.Code != exitDone {
					t.Fatal(r)
				}
			}))
			Until(t, 30*time.Second, func() string {
				if d := a.Status().Deployment; d == nil || !d.State.Final() {
					return "the " + way + " goes on"
				}
				return ""
			})
		}
	}
	median := func(way string) time.Duration {
		slices.Sort(took[way])
		return took[way][len(took[way])/2]
	}
	back, deploy := median("rollback"), median("deploy")
	t.Logf("%d rollbacks by hand to a cold release: %v at the median and %v at most until no request reached the release that was left; deploys of the same image: %v and %v; ratio %.2f",
		rounds, back.Round(time.Millisecond), slices.Max(took["rollback"]).Round(time.Millisecond),
		deploy.Round(time.Millisecond), slices.Max(took["deploy"]).Round(time.Millisecond), back.Seconds()/deploy.Seconds())
	if rounds > 1 && back > deploy+deploy/10 {
		t.Errorf("a rollback takes %v at the median, a deploy %v", back, deploy)
	}
}
