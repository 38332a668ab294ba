package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// hostPID finds a process of a task among the machine's, by its cgroup and the beginning of its command line.
func (a *App) hostPID(task api.TaskView, command string) int {
	a.t.Helper()
	group := "/" + task.ID
	entries, err := os.ReadDir("/proc")
	if err != nil {
		a.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(cgroup), group) && strings.HasPrefix(string(line), command) {
			return pid
		}
	}
	a.t.Fatalf("no process of task %s", task.ID)
	return 0
}

func (a *App) untilOK() {
	a.t.Helper()
	Until(a.t, 30*time.Second, func() string {
		s := a.Status()
		if s.State == api.HealthOK {
			return ""
		}
		return fmt.Sprintf("status %s: %s", s.State, s.Services[0].Problem)
	})
}

func TestKilledTaskIsReplaced(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	victim := a.Tasks("web")[0]
	if err := syscall.Kill(a.hostPID(victim, "/testapp"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	Until(t, 20*time.Second, func() string {
		for _, task := range a.Tasks("web") {
			if task.ID == victim.ID {
				return "the killed task is still there"
			}
		}
		return ""
	})
	a.untilOK()
	a.Run("ps", "--all").Want(t, exitDone, "failed", "killed by SIGKILL")
	a.Run("events").Want(t, exitDone, "web.1 failed", "SIGKILL")
	if got := a.Tasks("web"); len(got) != 2 || got[0].Slot == got[1].Slot {
		t.Errorf("%d tasks after healing", len(got))
	}
}

// crashWait is the longest that a request may wait because a task has crashed.
const crashWait = 200 * time.Millisecond

// TestCrashUnderLoad kills one of two tasks under load, again and again: the requests that it had and those that were
// to come to it are answered by the other one, at once. On a busy machine some wait anyway: another app, whose tasks
// live, is asked beside it, and a wait that the crash has caused is there after each one.
func TestCrashUnderLoad(t *testing.T) {
	t.Parallel()
	a, calm := shared.App(t), shared.App(t)
	for _, app := range []*App{a, calm} {
		app.web("v1")
		app.Deploy()
	}
	kept, beside := StartLoad(t, 8, a.URL("/"), "v1"), StartLoad(t, 8, calm.URL("/"), "v1")
	const rounds, most = 3, 6 // as long as each of them was bad there is one more
	round, bad := 0, 0
	for ; round < rounds || bad == round && round < most; round++ {
		Until(t, 30*time.Second, func() string {
			if n := len(a.Tasks("web")); n != 2 {
				return fmt.Sprintf("%d tasks", n)
			}
			return ""
		})
		a.untilOK()
		victim := a.Tasks("web")[0]
		pid := a.hostPID(victim, "/testapp")
		before, besideBefore := kept.Slow(crashWait), beside.Slow(crashWait)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // it is the time that is measured
		slow, anyway := kept.Slow(crashWait)-before, beside.Slow(crashWait)-besideBefore
		t.Logf("round %d: %d requests of the second after the crash waited longer than %s, %d of the other app", round, slow, crashWait, anyway)
		if slow > anyway {
			bad++
		}
	}
	r := kept.StopClean(t, 500)
	if bad == round {
		t.Errorf("after each crash requests waited longer than %s; the longest %s", crashWait, r.Longest)
	}
	beside.StopClean(t, 500)
	t.Logf("%d requests, the longest took %s", r.Total, r.Longest)
}

func TestUnhealthyTaskIsReplaced(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	load := StartLoad(t, 2, a.URL("/"), "v1")
	if code, _ := get(t, a.URL("/fail")); code != 200 {
		t.Fatalf("/fail: %d", code)
	}
	Until(t, 30*time.Second, func() string {
		if strings.Contains(a.Run("ps", "--all").Stdout, "500") {
			return ""
		}
		return "no task is unhealthy"
	})
	a.untilOK()
	load.StopClean(t, 20)
	a.Run("events").Want(t, exitDone, "500")
}

func TestCrashLoopIsNamed(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1", "    environment: {CRASH_IF: /var/crash/now}\n    volumes: [\"crash:/var/crash\"]\nvolumes: {crash: {}}")
	a.Deploy()
	a.Shell("web", "touch /var/crash/now")
	Until(t, 40*time.Second, func() string {
		s := a.Status()
		if p := s.Services[0].Problem; strings.Contains(p, "code 7") && strings.Contains(p, "crash loop") {
			return ""
		}
		return fmt.Sprintf("status %s: %q", s.State, s.Services[0].Problem)
	})
}

// TestFixBesideACrashLoop deploys a fix for one service while another one, which it does not touch, crashes again and again.
func TestFixBesideACrashLoop(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	const worker = `  worker:
    image: {registry}/base
    command: [sh, -c, "while [ ! -e /data/down ]; do sleep 0.1; done; exit 7"]
    stop_grace_period: 1s
    volumes: ["data:/data"]
    x-ikada: {strategy: {monitor: 300ms}}
volumes: {data: {}}
`
	a.web("v1", worker)
	a.Deploy().Want(t, exitDone)
	a.Run("exec", "worker", "touch", "/data/down").Want(t, exitDone)
	Until(t, 60*time.Second, func() string {
		s := a.Status()
		for _, svc := range s.Services {
			if svc.Service == "worker" && strings.Contains(svc.Problem, "crash loop") && strings.Contains(svc.Problem, "code 7") {
				return ""
			}
		}
		return fmt.Sprintf("status %s: %+v", s.State, s.Services)
	})
	a.web("v2", worker)
	const left = "worker was failing before this deployment began and is left as it is: exited with code 7"
	a.Deploy().Want(t, exitDone, "succeeded", left)
	if got := a.Get("/"); got != "v2" {
		t.Errorf("app answers %q", got)
	}
	a.Run("receipt").Want(t, exitDone, left)
	a.Run("events").Want(t, exitDone, left)
	// A deploy that brings worker's own fix is judged by it.
	a.web("v2", strings.Replace(worker, "exit 7", "exit 8", 1))
	a.Run("deploy").Want(t, exitRolledBack, "worker.1: exited with code 8")
	a.web("v2", strings.Replace(worker, "! -e /data/down", "-e /data/down", 1))
	a.Deploy().Want(t, exitDone, "succeeded")
	a.untilOK()
}

func TestMemoryKillIsNamed(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1", `    mem_limit: 48m`)
	a.Deploy()
	_, _, _ = ask(a.URL("/leak?mb=200")) // no answer is expected of a killed task
	Until(t, 20*time.Second, func() string {
		if out := a.Run("ps", "--all").Stdout; strings.Contains(out, "memory") && strings.Contains(out, "48") {
			return ""
		}
		return "no task is said to have run out of memory: " + a.Run("ps", "--all").Stdout
	})
	a.Run("events").Want(t, exitDone, "memory")
	a.untilOK()
}

func TestJobRunsToItsEnd(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.Compose(`
services:
  once:
    image: {registry}/base
    command: [sh, -c, "echo done"]
    restart: "no"
`)
	a.Deploy()
	a.Run("status").Want(t, exitDone, "completed")
	a.Run("logs").Want(t, exitDone, "done")
	a.Compose(`
services:
  once:
    image: {registry}/base
    command: [sh, -c, "exit 3"]
    restart: "no"
`)
	a.Run("deploy").Want(t, exitRolledBack, "exited with code 3")
}
