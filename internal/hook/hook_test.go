package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
)

var shop = api.EnvRef{App: "shop", Env: "production"}

// receiver is a web hook's other end.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []request
	fail func(n int) int // the status of the nth request, from 1 on; 0 is 204
}

type request struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, request{req.Header.Clone(), body})
		status := 0
		if r.fail != nil {
			status = r.fail(len(r.got))
		}
		if status == 0 {
			status = http.StatusNoContent
		}
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

// messages gives what was received.
func (r *receiver) messages(t *testing.T) []api.HookMessage {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []api.HookMessage
	for _, g := range r.got {
		var m api.HookMessage
		if err := json.Unmarshal(g.body, &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// bench is a store with a loop that tells its hooks.
type bench struct {
	t     *testing.T
	store store.Store
	stop  func() // ends the loop, as a lost election does
}

func newBench(t *testing.T) *bench { return &bench{t: t, store: mem.New(0)} }

// lead runs a loop until the test's end or stop.
func (b *bench) lead(change func(*Config)) {
	b.t.Helper()
	log := slog.New(slog.NewTextHandler(b.t.Output(), nil))
	cfg := Config{Store: b.store, Sender: NewSender(), Cluster: "n1", Log: log,
		Open: func(h api.SealedHook) (target api.HookTarget, err error) {
			return target, json.Unmarshal(h.Sealed, &target)
		},
		Pause: func(int) time.Duration { return 10 * time.Millisecond }}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- leader.New(b.store, "control", "n1", log).Run(ctx, func(ctx context.Context, fence leader.Fence) error {
			return New(cfg, fence).Run(ctx)
		})
	}()
	var once sync.Once
	b.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				b.t.Errorf("loop: %v", err)
			}
		})
	}
	b.t.Cleanup(b.stop)
}

func (b *bench) update(fn func(tx store.Tx) error) {
	b.t.Helper()
	if _, err := b.store.Update(b.t.Context(), fn); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) hook(name string, req api.HookRequest) {
	b.t.Helper()
	req.Name = name
	h, err := req.Hook()
	if err != nil {
		b.t.Fatal(err)
	}
	sealed, _ := json.Marshal(api.HookTarget{URL: req.URL, Secret: "s3cret"})
	b.update(func(tx store.Tx) error {
		return store.Put(tx, store.Hooks+name, api.SealedHook{Hook: h, Sealed: sealed})
	})
}

func (b *bench) event(e api.Event) {
	b.t.Helper()
	if e.App == "" {
		e.EnvRef = shop
	}
	b.update(func(tx store.Tx) error { return store.AddEvent(tx, e) })
}

func (b *bench) state(name string) api.HookState {
	b.t.Helper()
	var s api.HookState
	_, err := b.store.View(b.t.Context(), func(tx store.Tx) error {
		found, err := store.Find[api.HookState](tx, store.HookStates+name)
		if found != nil {
			s = *found
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// until waits for a condition, which says what it still waits for.
func until(t *testing.T, condition func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for missing := condition(); missing != ""; missing = condition() {
		if time.Now().After(deadline) {
			t.Fatal(missing)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b *bench) delivered(name string, n uint64) {
	b.t.Helper()
	until(b.t, func() string {
		if s := b.state(name); s.Delivered+s.Dropped < n {
			return fmt.Sprintf("hook %s: %+v, expected %d done with", name, s, n)
		}
		return ""
	})
}

func TestMessageTellsOfTheDeployment(t *testing.T) {
	b, r := newBench(t), newReceiver(t)
	b.event(api.Event{Type: "deployment.succeeded", Message: "before the hook"})
	b.hook("ci", api.HookRequest{URL: r.URL})
	b.lead(nil)
	b.update(func(tx store.Tx) error {
		if err := store.Put(tx, store.ReleaseKey(shop, 4), api.Release{EnvRef: shop, Number: 4, Commit: "abc", Message: "a note"}); err != nil {
			return err
		}
		return store.Put(tx, store.DeploymentKey(shop, 7), api.Deployment{EnvRef: shop, Number: 7, Kind: api.KindDeploy, From: 3, To: 4,
			State: api.DeployRolledBack, Reason: "web: exited with code 1", CreatedBy: "ann", Receipt: api.Receipt{Requests: 12, Took: api.Duration(time.Second)}})
	})
	b.event(api.Event{Type: "deployment.rolled_back", Deployment: 7, Level: api.LevelError, Message: "deploy 7 was taken back"})
	b.delivered("ci", 1)
	got := r.messages(t)
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	m := got[0]
	d := m.Deployment
	if m.On != api.HookRollback || m.EnvRef != shop || m.Hook != "ci" || m.Cluster != "n1" || m.Message != "deploy 7 was taken back" || m.ID == "" || d == nil {
		t.Fatalf("%+v", m)
	}
	if d.Number != 7 || d.Release != 4 || d.From != 3 || d.By != "ann" || d.Reason != "web: exited with code 1" || d.Receipt.Requests != 12 || d.Commit != "abc" || d.Note != "a note" {
		t.Errorf("%+v", d)
	}
	h := r.got[0].header
	signature := h.Get(SignatureHeader)
	at, _, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
	var seconds int64
	if _, err := fmt.Sscan(at, &seconds); err != nil || time.Since(time.Unix(seconds, 0)) > time.Minute {
		t.Errorf("signature %q: %v", signature, err)
	}
	if want := Sign("s3cret", time.Unix(seconds, 0), r.got[0].body); signature != want || h.Get(DeliveryHeader) != m.ID || h.Get(EventHeader) != "rollback" {
		t.Errorf("header %v, expected the signature %s", h, want)
	}
}

func TestHookIsToldInOrderOfWhatItAsksFor(t *testing.T) {
	b, r := newBench(t), newReceiver(t)
	r.fail = func(n int) int { return map[int]int{1: 500, 2: 302, 5: 503}[n] }
	b.lead(nil)
	b.hook("prod", api.HookRequest{URL: r.URL, On: []string{"success", "failure"}, Scope: "shop/production"})
	staging := api.EnvRef{App: "shop", Env: "staging"}
	for i := range 5 {
		b.event(api.Event{Type: "deployment.started", Message: "not asked for"})
		b.event(api.Event{EnvRef: staging, Type: "deployment.succeeded", Message: "elsewhere"})
		b.event(api.Event{Type: []string{"deployment.succeeded", "deployment.failed"}[i%2], Message: fmt.Sprint(i)})
	}
	b.delivered("prod", 5)
	var order []string
	ids := map[string]int{}
	for _, m := range r.messages(t) {
		if ids[m.ID]++; ids[m.ID] == 1 {
			order = append(order, m.Message)
		}
	}
	if strings.Join(order, "") != "01234" || len(r.got) != 8 {
		t.Errorf("told %v in %d attempts", order, len(r.got))
	}
	if s := b.state("prod"); s.Delivered != 5 || s.Dropped != 0 || s.Attempts != 0 || s.Problem != "" {
		t.Errorf("%+v", s)
	}
}

// A release that fails on its trial is told of as taken back, with the numbers; a job that fails, and one that did not run,
// with what is known of it.
func TestTrialsAndJobs(t *testing.T) {
	b, r := newBench(t), newReceiver(t)
	b.hook("ci", api.HookRequest{URL: r.URL})
	b.lead(nil)
	three := 3
	b.update(func(tx store.Tx) error {
		d := api.Deployment{EnvRef: shop, Number: 7, Kind: api.KindDeploy, From: 3, To: 4, State: api.DeployRolledBack, Reason: "web: 19 % of 1,200 requests failed",
			Trial: api.TrialFailed, Follow: 8, Verdicts: []api.Verdict{{Service: "web", Result: api.VerdictFail, Reason: "19 % of 1,200 requests failed",
				Numbers: &api.VerdictNumbers{New: api.VerdictSample{Release: 4, Requests: 1200, Failed: 228}}}}}
		if err := store.Put(tx, store.DeploymentKey(shop, 7), d); err != nil {
			return err
		}
		return store.Put(tx, store.JobKey(shop, "j1"), api.Job{ID: "j1", EnvRef: shop, Kind: api.JobCron, Service: "web", Name: "cleanup", Release: 4,
			State: api.JobFailed, Reason: "exited with code 3", ExitCode: &three})
	})
	b.event(api.Event{Type: "release.failed", Deployment: 7, Level: api.LevelError, Message: "release 4 failed after it had taken over"})
	b.event(api.Event{Type: "release.no_way_back", Deployment: 7, Message: "nothing is done"})
	b.event(api.Event{Type: "job.succeeded", Service: "web", Job: "cleanup", Task: "j1"})
	b.event(api.Event{Type: "job.failed", Service: "web", Job: "cleanup", Task: "j1", Level: api.LevelError, Message: "web.cleanup failed: exited with code 3"})
	b.event(api.Event{Type: "job.failed", Service: "web", Job: "cleanup", Task: "forgotten", Message: "web.cleanup failed"})
	b.event(api.Event{Type: "job.missed", Service: "web", Job: "cleanup", Message: "web.cleanup did not run"})
	b.event(api.Event{Type: "job.skipped", Service: "web", Job: "cleanup", Message: "web.cleanup did not run"})
	b.delivered("ci", 6)
	got := r.messages(t)
	var on []string
	for _, m := range got {
		on = append(on, m.On)
	}
	if want := "rollback failure job-failed job-failed job-missed job-missed"; strings.Join(on, " ") != want {
		t.Fatalf("told of %v, want %s", on, want)
	}
	d := got[0].Deployment
	if d == nil || d.State != api.DeployRolledBack || d.Trial != api.TrialFailed || d.Follow != 8 || len(d.Verdicts) != 1 || d.Verdicts[0].Numbers.New.Failed != 228 {
		t.Errorf("rollback: %+v", d)
	}
	if j := got[2].Job; j == nil || j.ID != "j1" || j.Name != "cleanup" || j.Kind != api.JobCron || *j.ExitCode != 3 || j.Reason != "exited with code 3" {
		t.Errorf("failed job: %+v", j)
	}
	for _, m := range got[3:] {
		if j := m.Job; j == nil || j.ID != "" || j.Service != "web" || j.Name != "cleanup" {
			t.Errorf("%s: %+v", m.Message, j)
		}
	}
}

// A slow or dead hook holds up no other.
func TestHooksAreIndependent(t *testing.T) {
	b, bad, good := newBench(t), newReceiver(t), newReceiver(t)
	bad.fail = func(int) int { return 500 }
	b.hook("bad", api.HookRequest{URL: bad.URL})
	b.hook("good", api.HookRequest{URL: good.URL})
	b.lead(nil)
	for range 10 {
		b.event(api.Event{Type: "deployment.succeeded"})
	}
	b.delivered("good", 10)
	until(t, func() string {
		if s := b.state("bad"); s.Attempts < 3 || s.Problem != "it answered 500" || s.NextAt.IsZero() {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	b.update(func(tx store.Tx) error {
		tx.Delete(store.Hooks + "bad")
		tx.Delete(store.HookStates + "bad")
		return nil
	})
	time.Sleep(100 * time.Millisecond)
	if s := b.state("bad"); s.Attempts != 0 {
		t.Errorf("a removed hook leaves %+v", s)
	}
}

// The next leader goes on where the last one was.
func TestHooksOutliveTheLeader(t *testing.T) {
	b, r := newBench(t), newReceiver(t)
	var ready atomic.Bool
	r.fail = func(n int) int {
		if n > 2 && !ready.Load() {
			return 503
		}
		return 0
	}
	b.hook("ci", api.HookRequest{URL: r.URL})
	b.lead(nil)
	for i := range 4 {
		b.event(api.Event{Type: "deployment.succeeded", Message: fmt.Sprint(i)})
	}
	until(t, func() string {
		if s := b.state("ci"); s.Delivered != 2 || s.Attempts == 0 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	b.stop()
	ready.Store(true)
	b.event(api.Event{Type: "deployment.succeeded", Message: "4"}) // while nobody leads
	b.lead(nil)
	b.delivered("ci", 5)
	var order []string
	for _, m := range r.messages(t) {
		if len(order) == 0 || order[len(order)-1] != m.Message {
			order = append(order, m.Message)
		}
	}
	if strings.Join(order, "") != "01234" {
		t.Errorf("told %v", order)
	}
}

func TestOldEventsAreGivenUp(t *testing.T) {
	b, r := newBench(t), newReceiver(t)
	r.fail = func(n int) int {
		if n > 1 {
			return http.StatusGone
		}
		return 0
	}
	b.hook("ci", api.HookRequest{URL: r.URL})
	b.event(api.Event{Type: "deployment.succeeded", Message: "old", Time: time.Now().Add(-7 * time.Hour)})
	b.event(api.Event{Type: "deployment.succeeded", Message: "new"})
	b.event(api.Event{Type: "deployment.succeeded", Message: "unwanted"})
	b.lead(nil)
	b.delivered("ci", 3)
	if got := r.messages(t); len(got) != 2 || got[0].Message != "new" {
		t.Errorf("%+v", got)
	}
	if s := b.state("ci"); s.Delivered != 1 || s.Dropped != 2 {
		t.Errorf("%+v", s)
	}
	// A message that is never taken is dropped once its time is over, and those behind it get theirs.
	dead := newReceiver(t)
	dead.fail = func(int) int { return 500 }
	b.stop()
	b.hook("dead", api.HookRequest{URL: dead.URL})
	b.lead(func(c *Config) { c.GiveUp = 100 * time.Millisecond })
	b.event(api.Event{Type: "deployment.succeeded"})
	b.delivered("dead", 1)
	if s := b.state("dead"); s.Dropped != 1 || s.Problem == "" {
		t.Errorf("%+v", s)
	}
}

func TestCrashLoop(t *testing.T) {
	f := newFeed()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	told := []string{}
	fail := func(after time.Duration, service string) {
		n := news{at: position{rev: int64(len(f.list)) + 1}, event: api.Event{EnvRef: shop, Service: service, Type: "task.failed", Time: start.Add(after)}}
		f.add([]news{n})
		if last := f.list[len(f.list)-1]; last.happening == api.HookCrashLoop {
			told = append(told, fmt.Sprint(service, " ", after))
		}
	}
	for i := range 10 {
		fail(time.Duration(i)*time.Second, "web")
	}
	fail(0, "api")
	fail(6*time.Minute, "api")
	fail(12*time.Minute, "api") // the first is too long ago
	for i := range 20 {
		fail(15*time.Minute+time.Duration(i)*5*time.Minute, "web") // it goes on
	}
	for i := range 3 {
		fail(10*time.Hour+time.Duration(i)*time.Second, "web")
	}
	if got := strings.Join(told, ", "); got != "web 2s, web 10h0m2s" {
		t.Errorf("told of %s", got)
	}
}

func TestSlackText(t *testing.T) {
	m := api.HookMessage{On: api.HookRollback, EnvRef: shop, Message: "deploy 7 was <taken> back",
		Deployment: &api.HookDeployment{Number: 7, Kind: api.KindDeploy, Release: 4, By: "ann", Reason: "web & api failed",
			Receipt: api.Receipt{Requests: 1200, Failed: 1, LongestWait: api.Duration(1234567890), Took: api.Duration(5 * time.Second)}}}
	body, err := encode(api.HookSlack, m)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := ":rewind: *shop/production* deploy 7 was &lt;taken&gt; back\ndeploy 7 to release 4 by ann\nweb &amp; api failed\n1200 requests, 1 failed, longest wait 1.235s, took 5s"
	if got["text"] != want {
		t.Errorf("got  %q\nwant %q", got["text"], want)
	}
}

func TestSlackTextOfAJob(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	m := api.HookMessage{On: api.HookJobFailed, EnvRef: shop, Service: "web", Message: "web.release failed: exited with code 3",
		Job:        &api.HookJob{Service: "web", Name: "release", ID: "j1", Release: 4, StartedAt: start, EndedAt: start.Add(1234567 * time.Microsecond)},
		Deployment: &api.HookDeployment{Number: 7, Kind: api.KindDeploy, Release: 4, By: "ann", Reason: "release command of web failed"}}
	want := ":x: *shop/production web* web.release failed: exited with code 3\njob j1 of release 4, after 1.235s\ndeploy 7 to release 4 by ann"
	if got := slackText(m); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSenderGoesWhereItMay(t *testing.T) {
	s := NewSender()
	for _, address := range []string{"169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "224.0.0.1", "255.255.255.255"} {
		o := s.send(t.Context(), api.HookTarget{URL: "http://" + address + ":80/latest/meta-data/secret"}, api.HookMessage{}, nil)
		if o.status != 0 || !strings.Contains(o.problem, "hooks do not go to") || strings.Contains(o.problem, "meta-data") {
			t.Errorf("%s: %+v", address, o)
		}
	}
	r := newReceiver(t)
	r.fail = func(int) int { return http.StatusFound }
	o := s.send(t.Context(), api.HookTarget{URL: r.URL + "/secret?token=x"}, api.HookMessage{}, nil)
	if o.status != http.StatusFound || len(r.got) != 1 || strings.Contains(o.problem, "token") {
		t.Errorf("a redirect was followed: %+v, %d requests", o, len(r.got))
	}
	r.Close()
	if o := s.send(t.Context(), api.HookTarget{URL: r.URL + "/secret?token=x"}, api.HookMessage{}, nil); o.problem == "" || strings.Contains(o.problem, "token") {
		t.Errorf("%+v", o)
	}
}

func TestPause(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 40; n++ {
		d := pause(n)
		if d <= 0 || d > maxPause || n < 5 && d <= last {
			t.Errorf("pause %d is %s after %s", n, d, last)
		}
		last = d
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "86400": maxPause, "99999999999999999999": 0, "soon": 0,
		"Sun, 22 Nov 2026 15:05:05 GMT": time.Minute, "Sun, 22 Nov 2026 15:03:05 GMT": 0, "Mon, 22 Nov 2027 15:04:05 GMT": maxPause,
	} {
		if got := asked(header, now); got != want {
			t.Errorf("%q asks for a pause of %s, expected %s", header, got, want)
		}
	}
}
