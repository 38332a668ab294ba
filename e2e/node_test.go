package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	n := shared
	n.Run(t, "check", "--data-dir", n.Dir).Want(t, exitDone, "✓ root", "✓ kernel")
	var findings []struct {
		Name      string
		OK, Fatal bool
	}
	n.Run(t, "check", "--json", "--data-dir", n.Dir).Want(t, exitDone).JSON(t, &findings)
	if len(findings) < 8 {
		t.Errorf("%d findings", len(findings))
	}
	// Another node cannot have this one's ports; check says so, and up refuses with the same words.
	dir := t.TempDir()
	r := n.Run(t, "check", "--data-dir", dir, "--listen", n.Listen, "--http", "").Want(t, exitError, n.Listen, "--listen")
	n.Run(t, "up", "--data-dir", dir, "--listen", n.Listen, "--http", "").Want(t, exitError, n.Listen, "--listen")
	if !strings.Contains(r.Stderr, "a node cannot run here") {
		t.Errorf("no conclusion\n%s", r)
	}
	n.Run(t, "up", "--data-dir", n.Dir, "--listen", fmt.Sprintf("127.0.0.1:%d", nextPort()), "--http", "").Want(t, exitError, "another ikada", n.Dir, "remedy: that node takes deployments")
}

// Stopping, killing and starting ikada drops no container; the restarted one takes them over with logs and health.
func TestRestartOfIkada(t *testing.T) {
	t.Parallel()
	n := NewNode(t).WithImages(t)
	a := n.App(t)
	a.web("v1")
	a.Deploy()
	logs := a.followLogs(t, "web")
	a.Get("/say?text=a+word+before")
	logs.await("a word before")
	before := a.Tasks("web")
	n.Stop(t)
	pid := a.hostPID(before[0], "/testapp")
	n.Start(t)
	a.untilOK()
	if got := a.Get("/"); got != "v1" {
		t.Errorf("app answers %q", got)
	}
	n.Kill(t)
	n.Start(t)
	a.untilOK()
	if after := a.Tasks("web"); len(after) != 2 || after[0].ID != before[0].ID || after[1].ID != before[1].ID {
		t.Errorf("tasks were replaced by a restart of ikada: %v, then %v", before, after)
	}
	if got := a.hostPID(before[0], "/testapp"); got != pid {
		t.Errorf("the task's process was %d and is %d", pid, got)
	}
	a.Get("/say?text=a+word+after")
	a.Run("logs").Want(t, exitDone, "a word before", "a word after")
	logs.await("a word after") // over the stop, the kill and both starts
	a.web("v2")
	a.Deploy()
	logs.await("testapp v2 listens") // over the swap
	logs.once("a word before", "a word after")
	second := a.Tasks("web")[0]
	// What ended while ikada was away is healed when it is back.
	n.Kill(t)
	if err := syscall.Kill(a.hostPID(second, "/testapp"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.Start(t)
	Until(t, 20*time.Second, func() string {
		if strings.Contains(a.Run("ps", "--all").Stdout, "killed by SIGKILL") {
			return ""
		}
		return "the end of a task while ikada was away is not told"
	})
	a.untilOK()
	last := a.Tasks("web")
	a.Run("shutdown", "--data-dir", n.Dir).Want(t, exitDone, "down")
	if _, err := os.Stat(n.Socket()); err == nil {
		t.Error("the socket is still there after shutdown")
	}
	n.Start(t)
	for _, now := range a.Tasks("web") {
		if slices.ContainsFunc(last, func(v api.TaskView) bool { return v.ID == now.ID }) {
			t.Errorf("a node that has started tells of a task of before its shutdown as %s", now.State())
		}
	}
	a.untilOK()
	if got := a.Get("/"); got != "v2" {
		t.Errorf("after shutdown and start the app answers %q", got)
	}
}

// prune removes the images of releases that are not kept any more, and leaves what kept releases need.
func TestPrune(t *testing.T) {
	t.Parallel()
	n := NewNode(t).WithImages(t)
	a := n.App(t)
	a.Compose("services:\n  web:\n    build: .\n    ports: [\"{port}:8080\"]\n    x-ikada: {strategy: {monitor: 100ms}}\n")
	const releases = api.KeepReleases + 3
	for i := range releases {
		a.File("Dockerfile", fmt.Sprintf("FROM {registry}/app:v1\nRUN echo %d > /number\nENV VERSION=release-%d\n", i+1, i+1))
		a.Deploy()
	}
	n.Stop(t) // the control plane drops old releases when it comes up, then once a minute
	n.Start(t)
	Until(t, 20*time.Second, func() string {
		if kept := len(a.images()); kept > api.KeepReleases {
			return fmt.Sprintf("%d releases are kept of %d", kept, releases)
		}
		return ""
	})
	kept := a.images()
	var dry, report api.PruneReport
	a.Run("prune", "--dry-run", "--json").Want(t, exitDone).JSON(t, &dry)
	if len(dry.Items) != 0 {
		t.Errorf("images built just now would be removed: %v", dry.Items)
	}
	a.Run("prune", "--unused-for", "0s", "--json").Want(t, exitDone).JSON(t, &report)
	for _, item := range report.Items {
		for number, image := range kept {
			if item.Name == image {
				t.Errorf("the image of release %d was removed: %s", number, image)
			}
		}
	}
	if len(report.Items) < releases-len(kept) {
		t.Errorf("%d things were removed, expected the images of %d releases: %v", len(report.Items), releases-len(kept), report.Items)
	}
	oldest := uint64(releases)
	for number := range kept {
		oldest = min(oldest, number)
	}
	a.Run("rollback", fmt.Sprint(oldest)).Want(t, exitDone)
	if got := a.Get("/"); got != fmt.Sprintf("release-%d", oldest) {
		t.Errorf("app answers %q", got)
	}
	a.web("v1") // what was pushed is the user's: it is still there
	a.Deploy()
	if got := a.Get("/"); got != "v1" {
		t.Errorf("app answers %q", got)
	}
}

// What ikada does beside requests leaves cores to them; tasks, what is executed in them, and the balancer have all.
func TestCores(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	cores := func(pid int) int {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(pid, &set); err != nil {
			t.Fatal(err)
		}
		return set.Count()
	}
	all := cores(0)
	if all < 2 {
		t.Skip("there is one core, so none is left free")
	}
	for name, pid := range map[string]int{"task": a.hostPID(a.Tasks("web")[0], "/testapp"), "balancer": shared.balancerPID(t)} {
		if got := cores(pid); got != all {
			t.Errorf("%s may use %d of %d cores", name, got, all)
		}
	}
	if got := cores(shared.PID()); got >= all {
		t.Errorf("ikada may use %d of %d cores", got, all)
	}
	a.Run("exec", "web", "nproc").Want(t, exitDone, fmt.Sprintln(all))
}
