package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// crowded is one run of `ikada deploy` among many.
type crowded struct {
	version string
	killed  bool
	code    int
	ended   time.Time
	output  string
}

// crowdDir makes a directory whose Compose file deploys the fault server as faultRef.
func (n *faultNode) crowdDir(version string) string {
	n.t.Helper()
	dir := n.t.TempDir()
	compose := fmt.Sprintf(`name: %s
services:
  web:
    image: %s
    environment: {VERSION: %q, EXIT: "%d"}
    ports: ["127.0.0.1:%d:8080"]
    deploy: {replicas: 2}
    x-ikada:
      health: {http: /healthz, interval: 1s, timeout: 5s, start_period: 30s}
      strategy: {monitor: 250ms, warm: 0s}
`, faultRef.App, n.image, version, faultExit, n.port)
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(compose), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return dir
}

// crowd runs one `ikada deploy`, and kills it with SIGKILL after a while unless that is 0.
func (n *faultNode) crowd(version string, kill time.Duration) crowded {
	c := crowded{version: version}
	cmd := n.Command(n.t.Context(), n.crowdDir(version), "deploy", "-m", version)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		n.t.Errorf("start: %v", err)
		return c
	}
	if kill > 0 {
		time.AfterFunc(kill, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
	}
	err := cmd.Wait()
	c.ended, c.output, c.code = time.Now(), out.String(), cmd.ProcessState.ExitCode()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status, _ := exit.Sys().(syscall.WaitStatus)
		c.killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	}
	return c
}

// oneRuns looks until ctx ends whether more than one deployment runs, or more than one waits.
func (n *faultNode) oneRuns(ctx context.Context) {
	for ctx.Err() == nil {
		ds, err := n.api.Deployments(ctx, faultRef)
		if err != nil {
			continue // ctx has ended
		}
		count := map[api.DeploymentState]int{}
		for _, d := range ds {
			count[d.State]++
		}
		if count[api.DeployRunning] > 1 || count[api.DeployQueued] > 1 {
			n.t.Errorf("%d deployments run and %d wait at once", count[api.DeployRunning], count[api.DeployQueued])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestFaultCrowd throws a hundred deployments at one environment from twenty clients, a third of which are killed in
// the middle: one runs at a time, the newest that was accepted serves in the end, those that it supersedes are told so
// at once, and nothing is stuck.
func TestFaultCrowd(t *testing.T) {
	const clients, each = 20, 5
	n := newFaultNode(t)
	n.roll(n.spec("v0", 2))
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { n.oneRuns(ctx) })
	var mu sync.Mutex
	runs := map[string]crowded{}
	var senders sync.WaitGroup
	for c := range clients {
		senders.Go(func() {
			for i := range each {
				var kill time.Duration
				if k := c*each + i; k%3 == 1 {
					kill = time.Duration(50+k*37%450) * time.Millisecond // before, while and after it is accepted
				}
				for again := 0; ; again++ {
					run := n.crowd(fmt.Sprintf("c%d-%d-%d", c, i, again), kill)
					mu.Lock()
					runs[run.version] = run
					mu.Unlock()
					if kill /= 2; run.killed || kill == 0 { // one that was done before is not one of those to be killed
						break
					}
				}
			}
		})
	}
	senders.Wait()
	ds, err := n.api.Deployments(t.Context(), faultRef)
	if err != nil || len(ds) < clients*each/2 {
		t.Fatalf("%d deployments, %v", len(ds), err)
	}
	newest := n.wait(ds[0].Number)
	cancel()
	watch.Wait()
	if newest.State != api.DeploySucceeded {
		t.Errorf("the newest deployment %d: %s: %s", newest.Number, newest.State, newest.Reason)
	}
	n.judgeCrowd(runs, clients*each/5)
	release, err := n.api.Release(t.Context(), faultRef, newest.To)
	if err != nil {
		t.Fatal(err)
	}
	n.audit(2)
	if _, body := get(t, n.url("/")); body != release.Message+"\n" {
		t.Errorf("%q serves, want %q", body, release.Message)
	}
	n.roll(n.spec("after", 2)) // nothing is left that would hold it up
}

// judgeCrowd holds what the clients were told, of whom so many at least must have been killed, against what became of their
// deployments.
func (n *faultNode) judgeCrowd(runs map[string]crowded, least int) {
	t := n.t
	t.Helper()
	ds, err := n.api.Deployments(t.Context(), faultRef)
	if err != nil {
		t.Fatal(err)
	}
	states, codes := map[api.DeploymentState]int{}, map[int]int{}
	byRelease := map[uint64]api.Deployment{}
	for i, d := range ds { // the newest first
		states[d.State]++
		byRelease[d.To] = d
		if !d.State.Final() {
			t.Errorf("deployment %d is still %s", d.Number, d.State)
		}
		for _, later := range ds[:i] {
			if !d.StartedAt.IsZero() && !later.StartedAt.IsZero() && later.StartedAt.Before(d.EndedAt) {
				t.Errorf("deployment %d began at %s, before %d ended at %s", later.Number, later.StartedAt, d.Number, d.EndedAt)
			}
		}
	}
	rs, err := n.api.Releases(t.Context(), faultRef)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]api.Deployment{}
	for _, r := range rs {
		of[r.Message] = byRelease[r.Number]
	}
	killed := 0
	var latest time.Duration
	for version, run := range runs {
		if run.killed {
			killed++
			continue
		}
		codes[run.code]++
		switch run.code {
		case exitDone:
		case exitCancelled:
			if !strings.Contains(run.output, "superseded by deployment ") || !strings.Contains(run.output, "which root asked for") {
				t.Errorf("%s is not told by what it was superseded: %s", version, run.output)
			}
			if d := of[version]; d.Number != 0 {
				latest = max(latest, run.ended.Sub(d.EndedAt))
			}
		default:
			t.Errorf("%s ended with %d: %s", version, run.code, run.output)
		}
	}
	if killed < least {
		t.Errorf("only %d of %d clients were killed", killed, len(runs))
	}
	if latest > 5*time.Second {
		t.Errorf("a client was told %s after the end that it was superseded", latest)
	}
	t.Logf("%d deployments: %v; %d clients killed, the others' exit codes: %v; told of the end within %s", len(ds), states, killed, codes, latest.Round(time.Millisecond))
}

// TestFaultLockHolderKilled kills what holds a session's lock: the lock is gone within 20 seconds, and until then holds.
func TestFaultLockHolderKilled(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	n.roll(n.spec("v0", 1))
	dir := n.crowdDir("v1")
	started := filepath.Join(dir, "started")
	cmd := n.Command(t.Context(), dir, "lock", "--why", "a test", "--while", "sh", "-c", "echo $$ >"+started+"; exec sleep 120")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	n.eventually(20*time.Second, "the command runs", func() error {
		b, err := os.ReadFile(started)
		if err == nil {
			child, err = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		return err
	})
	defer func() { _ = syscall.Kill(child, syscall.SIGKILL) }()
	n.In(t, dir, "status").Want(t, exitDone, "locked by root", "a test")
	n.In(t, dir, "deploy").Want(t, exitError, "locked by root", "a test")
	time.Sleep(api.SessionLock + 2*time.Second) // it is renewed
	n.In(t, dir, "scale", "web=2").Want(t, exitError, "locked by root")
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	killed := time.Now()
	n.In(t, dir, "scale", "web=2").Want(t, exitError, "locked by root")
	n.within(20*time.Second-time.Since(killed), "the lock is gone", func() error {
		_, err := n.api.Scale(t.Context(), faultRef, api.ScaleRequest{"web": 1})
		return err
	})
	t.Logf("gone %s after its holder", time.Since(killed).Round(time.Millisecond))
	// What ran under it may change nothing any more.
	late := n.Command(t.Context(), dir, "scale", "web=2")
	late.Env = append(late.Env, "IKADA_LOCK="+faultRef.String()+"/abc")
	finish(t, late).Want(t, exitError, "is lost")
	// A holder that lives passes, and leaves nothing.
	n.In(t, dir, "lock", "--while", program, "deploy").Want(t, exitDone)
	n.In(t, dir, "lock", "--while", "false").Want(t, 1)
	n.In(t, dir, "deploy", "--force").Want(t, exitDone)
}
