package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// pids gives the first process of each live task.
func (n *faultNode) pids() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	for _, v := range n.tasks(false) {
		paths, _ := filepath.Glob(filepath.Join(n.stateDir(), "c", "io.containerd.runtime.v2.task", "*", v.ID, "init.pid"))
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				n.t.Fatal(err)
			}
			out[v.ID] = string(b)
		}
	}
	return out
}

// TestFaultRestartWhileIdle ends ikada in each way that is to leave tasks alone.
func TestFaultRestartWhileIdle(t *testing.T) {
	const replicas = 3
	n := newFaultNode(t)
	n.roll(n.spec("v1", replicas))
	before := n.pids()
	if len(before) != replicas {
		t.Fatalf("processes of tasks: %v, want %d", before, replicas)
	}
	traffic := drive(t, n.url("/"), 2, 5*time.Millisecond)
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM} {
		best := time.Hour // what else goes on the machine only adds to it
		for i := 0; i < 4 && best > 2*time.Second; i++ {
			n.end(t, s)
			up := time.Now()
			n.Start(t)
			best = min(best, n.serves(20*time.Second).Sub(up))
		}
		t.Logf("after %v: the published port serves %v after the start", s, best.Round(time.Millisecond))
		if best > 2*time.Second {
			t.Errorf("take-over after %v took %v", s, best)
		}
		if now := n.pids(); !maps.Equal(now, before) {
			t.Errorf("processes after %v: %v, before %v", s, now, before)
		}
		n.audit(replicas)
	}
	time.Sleep(2 * time.Second) // more health checks and log lines
	if err := n.whole(replicas); err != nil {
		t.Error(err)
	}
	for _, v := range n.tasks(false) {
		if err := n.wholeLog(v.ID, false); err != nil {
			t.Errorf("log of %s: %v", v.Name(), err)
		}
	}
	traffic.stopClean(t)
	if ds, err := n.api.Deployments(t.Context(), faultRef); err != nil || len(ds) != 1 {
		t.Errorf("deployments: %v, %v; a restart must make none", ds, err)
	}
}

// TestFaultHealthAfterRestart checks that a restarted ikada goes on probing tasks that it did not start, and that it
// learns of an end that nobody watched.
func TestFaultHealthAfterRestart(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	n.roll(n.spec("v1", 2))
	first := n.tasks(false)[0]
	n.Kill(t)
	if err := request(&http.Client{Timeout: patience}, "http://"+first.Status.Address+":8080/"); err != nil {
		t.Fatalf("task without ikada: %v", err)
	}
	// One exits while ikada is dead, and while containerd is dead too.
	n.killContainerd()
	_, _ = (&http.Client{Timeout: patience}).Post("http://"+first.Status.Address+":8080/exit?code=9", "", nil)
	n.Start(t)
	n.eventually(20*time.Second, "the ended task has its exit code", func() error {
		v, err := n.api.Task(t.Context(), first.ID)
		if err != nil {
			return err
		}
		if v.State() != api.TaskFailed || v.Status.ExitCode == nil || *v.Status.ExitCode != 9 {
			return fmt.Errorf("task is %s, exit code %v: %s", v.State(), v.Status.ExitCode, v.Status.Message)
		}
		return nil
	})
	if err := n.wholeLog(first.ID, true); err != nil {
		t.Errorf("log of the ended task: %v", err)
	}
	n.audit(2)
}

// TestFaultShimKilled kills a shim: its task is gone with it, is told so, and is replaced.
func TestFaultShimKilled(t *testing.T) {
	t.Parallel()
	const replicas = 2
	n := newFaultNode(t)
	n.roll(n.spec("v1", replicas))
	shims := n.shims()
	if len(shims) == 0 {
		t.Fatal("no shim runs")
	}
	for _, pid := range shims {
		kill(t, pid)
	}
	n.eventually(20*time.Second, "every task whose shim was killed has failed", func() error {
		failed := 0
		for _, v := range n.tasks(true) {
			if v.State() == api.TaskFailed && v.Status.Message != "" {
				failed++
			}
		}
		if failed != replicas {
			return fmt.Errorf("%d tasks have failed and say why, want %d", failed, replicas)
		}
		return nil
	})
	n.audit(replicas)
}

// TestFaultExitWithoutContainerd lets a task end while containerd is dead.
func TestFaultExitWithoutContainerd(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	n.roll(n.spec("v1", 2))
	v := n.tasks(false)[0]
	n.killContainerd()
	_, _ = (&http.Client{Timeout: patience}).Post("http://"+v.Status.Address+":8080/exit?code=9", "", nil)
	n.eventually(20*time.Second, "the exit code is known", func() error {
		got, err := n.api.Task(t.Context(), v.ID)
		if err != nil {
			return err
		}
		if got.Status.ExitCode == nil || *got.Status.ExitCode != 9 {
			return fmt.Errorf("task is %s, exit code %v: %s", got.State(), got.Status.ExitCode, got.Status.Message)
		}
		return nil
	})
	n.audit(2)
}

// TestFaultShutdownAndUp stops everything and brings it back.
func TestFaultShutdownAndUp(t *testing.T) {
	t.Parallel()
	const replicas = 3
	n := newFaultNode(t)
	n.roll(n.spec("v1", replicas))
	release := n.environment().Release
	n.Run(t, "shutdown", "--data-dir", n.Dir).Want(t, exitDone)
	<-n.exited
	if left := faultProcesses(n.Dir); len(left) != 0 {
		t.Errorf("processes after the shutdown: %v", left)
	}
	n.Start(t)
	n.back(replicas, release)
}

// TestFaultShutdownWithoutContainerd asks for a shutdown while containerd is dead: the tasks are stopped nevertheless.
func TestFaultShutdownWithoutContainerd(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	n.roll(n.spec("v1", 3))
	n.killContainerd()
	if err := n.api.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.exited:
	case <-time.After(patience):
		t.Fatalf("ikada goes on %s after it was told to shut down", patience)
	}
	if left := faultProcesses(n.Dir); len(left) != 0 {
		t.Errorf("processes after the shutdown: %v", left)
	}
}

// back checks that everything runs again, of the same release, without a deployment and without a crash loop.
func (n *faultNode) back(replicas int, release uint64) {
	n.t.Helper()
	began := time.Now()
	n.audit(replicas)
	n.serves(20 * time.Second)
	n.t.Logf("%d tasks are back after %v", replicas, time.Since(began).Round(time.Millisecond))
	if now := n.environment().Release; now != release {
		n.t.Errorf("release %d runs, want %d", now, release)
	}
	if ds, err := n.api.Deployments(n.t.Context(), faultRef); err != nil || len(ds) != 1 {
		n.t.Errorf("deployments: %v, %v; want none but the first", ds, err)
	}
	for _, v := range n.tasks(false) {
		if v.Attempt != 0 {
			n.t.Errorf("%s counts as attempt %d: what was lost is no failure", v.Name(), v.Attempt)
		}
	}
}

// TestFaultReboot does to an instance what a machine's reboot does.
func TestFaultReboot(t *testing.T) {
	t.Parallel()
	const replicas = 3
	n := newFaultNode(t)
	n.roll(n.spec("v1", replicas))
	release := n.environment().Release
	n.Kill(t)
	for range 3 { // what dies may have started something just before
		for _, pid := range faultProcesses(n.Dir) {
			kill(t, pid)
		}
	}
	n.eventually(10*time.Second, "all processes are gone", func() error {
		if left := faultProcesses(n.Dir); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	unmountAll(t, n.Dir, n.stateDir())
	if err := os.RemoveAll(n.stateDir()); err != nil {
		t.Fatal(err)
	}
	n.Start(t)
	n.back(replicas, release)
}

// unmountAll detaches every mount below the directories.
func unmountAll(t testing.TB, dirs ...string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range slices.Backward(lines) {
		at := strings.Fields(line)[1]
		if slices.ContainsFunc(dirs, func(d string) bool { return strings.HasPrefix(at, d+"/") }) {
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
				t.Fatalf("unmount %s: %v", at, err)
			}
		}
	}
}

// faultProcesses gives the processes that belong to a directory's node: those of its programs, those that name it on their
// command line, and those in its cgroups.
func faultProcesses(dir string) []int {
	own := map[int]bool{}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range entries {
		var pid int
		if _, err := fmt.Sscanf(p, "/proc/%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		exe, _ := os.Readlink(p + "/exe")
		line, _ := os.ReadFile(p + "/cmdline")
		group, _ := os.ReadFile(p + "/cgroup")
		if strings.HasPrefix(exe, dir+"/") || strings.Contains(string(line), dir+"/") || strings.HasSuffix(strings.TrimRight(string(line), "\x00"), dir) ||
			strings.Contains(string(group), "/ikada-"+instance(dir)) {
			if state, _ := os.ReadFile(p + "/stat"); !strings.Contains(string(state), ") Z ") && exe != "" {
				own[pid] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(own))
}
