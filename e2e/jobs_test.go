package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// jobs asks for the app's jobs, also those that have ended.
func (a *App) jobs() api.JobList {
	a.t.Helper()
	var list api.JobList
	a.Run("jobs", "--all", "--json").Want(a.t, exitDone).JSON(a.t, &list)
	return list
}

// TestRunOnce runs one-off commands: output and exit code arrive whole, limits and configuration are the service's, and
// nobody takes such a task for one of the service's.
func TestRunOnce(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.File("token.txt", "s3cret-value")
	a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    environment: {COLOUR: blue, SHAPE: round}
    mem_limit: 64m
    secrets: [token]
    volumes: ["data:/data"]
    x-ikada: {strategy: {monitor: 1s}}
volumes: {data: {}}
secrets: {token: {file: token.txt}}
`)
	a.Run("run", "web", "--", "true").Want(t, exitError, "does not exist")
	a.Deploy()

	r := a.Run("run", "-e", "SHAPE=square", "--set", "SIZE=3", "web", "--", "sh", "-c",
		`echo $COLOUR $SHAPE $SIZE; cat /run/secrets/token; echo kept >/data/x; echo >&2 oops; printf end; exit 7`)
	if r.Code != 7 || r.Stdout != "blue square 3\ns3cret-valueend" || r.Stderr != "oops\n" {
		t.Errorf("it ended otherwise\n%s", r)
	}
	if got := a.Shell("web", "cat /data/x"); got != "kept" {
		t.Errorf("the volume holds %q", got)
	}
	const lines = 20000
	r = a.Run("run", "web", "sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo line $i; done", lines)).Want(t, exitDone)
	if n := strings.Count(r.Stdout, "\n"); n != lines || !strings.HasSuffix(r.Stdout, fmt.Sprintf("line %d\n", lines)) {
		t.Errorf("%d of %d lines arrived", n, lines)
	}
	if r := a.Run("run", "web", "printf", `\377\000\376\n\n`).Want(t, exitDone); r.Stdout != "\xff\x00\xfe\n\n" {
		t.Errorf("bytes arrive as %q", r.Stdout)
	}
	a.Run("run", "web", "--", "/no/such/program").Want(t, 127, "/no/such/program")
	a.Run("run", "web", "--", "sh", "-c", "head -c 200m /dev/zero | tail").Want(t, 137, "memory")
	a.Run("run", "--timeout", "2s", "web", "--", "sleep", "60").Want(t, exitTimeout, "not over after 2s")
	a.Run("run", "nobody", "--", "true").Want(t, exitError, "nobody", "web")
	a.Run("run", "web").Want(t, exitUsage, "which command")
	a.Run("status", "-e", "A=B").Want(t, exitUsage, "A=B")

	a.Run("status").Want(t, exitDone, "ok", "1/1")
	Until(t, 20*time.Second, func() string {
		if n := len(a.Tasks("web")); n != 1 {
			return fmt.Sprintf("web has %d live tasks", n)
		}
		return ""
	})
	list := a.jobs().Jobs
	if len(list) != 6 || list[5].State != api.JobFailed || *list[5].ExitCode != 7 || list[0].State != api.JobTimedOut {
		t.Errorf("history: %+v", list)
	}
	a.Run("logs", list[5].ID).Want(t, exitDone, "blue square 3", "oops", "web.run")
	a.Run("jobs").Want(t, exitDone, "No job")
}

// TestRunWithInput gives a command standard input and a terminal.
func TestRunWithInput(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := a.Command(ctx, a.Path, "run", "-i", "web", "--", "sh", "-c", "cat; printf ' %s' $VERSION; exit 5")
	cmd.Stdin = strings.NewReader("given")
	finish(t, cmd).Want(t, 5, "given v1")
	a.Run("run", "-t", "web", "--", "true").Want(t, exitUsage, "terminal")
	a.Run("run", "-i", "web", "--", "/no/such/program").Want(t, 127, "/no/such/program")

	Until(t, 20*time.Second, func() string {
		if n := len(a.Tasks("web")); n != 2 {
			return fmt.Sprintf("%d tasks are left", n)
		}
		return ""
	})
	for _, j := range a.jobs().Jobs {
		if !j.State.Final() {
			t.Errorf("job %s is %s", j.ID, j.State)
		}
	}
}

// TestRunIsStopped stops runs by Ctrl-C, by their client's death, by name; a detached one outlives its client.
func TestRunIsStopped(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	start := func(args ...string) (*exec.Cmd, *screen) {
		cmd := a.Command(t.Context(), a.Path, append([]string{"run"}, args...)...)
		out := &screen{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, out
	}
	state := func(i int) func() string {
		return func() string {
			list := a.jobs().Jobs
			if len(list) <= i {
				return "no such job"
			}
			return string(list[len(list)-1-i].State)
		}
	}
	until := func(i int, want api.JobState) {
		t.Helper()
		Until(t, 20*time.Second, func() string {
			if got := state(i)(); got != string(want) {
				return fmt.Sprintf("job %d is %q, not %q", i, got, want)
			}
			return ""
		})
	}
	first, out := start("web", "--", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
	Until(t, 20*time.Second, func() string {
		if text := out.String(); !strings.Contains(text, "ready") {
			return fmt.Sprintf("the shell has not set its trap, output %q", text)
		}
		return ""
	})
	if err := first.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := first.Wait()
	if first.ProcessState.ExitCode() != 130 || !strings.Contains(out.String(), "bye") {
		t.Errorf("after Ctrl-C: %v, output %q", err, out)
	}
	until(0, api.JobStopped)

	second, _ := start("web", "--", "sleep", "300")
	until(1, api.JobRunning)
	_ = second.Process.Kill()
	_ = second.Wait()
	third := strings.TrimSpace(a.Run("run", "--detach", "web", "--", "sh", "-c", "echo began; sleep 300").Want(t, exitDone).Stdout)
	until(2, api.JobRunning)
	a.Run("jobs").Want(t, exitDone, third, "web.run", "running")
	a.Run("ps").Want(t, exitDone, "web.run")
	until(1, api.JobStopped)
	if j := a.jobs().Jobs[1]; j.Reason != "its client has gone" {
		t.Errorf("it was stopped because %q", j.Reason)
	}
	until(2, api.JobRunning)
	Until(t, 20*time.Second, func() string {
		if r := a.Run("logs", third).Want(t, exitDone); !strings.Contains(r.Stdout, "began") {
			return "it has said nothing"
		}
		return ""
	})
	a.Run("jobs", "stop", third[:6]).Want(t, exitDone)
	until(2, api.JobStopped)
	a.Run("jobs", "stop", third).Want(t, exitError, "has ended already")
}

// TestReleaseCommand deploys with a release command: it runs before the swap with the new release's configuration, its
// output is shown, and one that fails stops the deployment while the old release serves under load.
func TestReleaseCommand(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	before := a.Tasks("web")
	load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
	release := `      release: {command: ["sh", "-c", "%s"], timeout: %s}`
	a.web("v2", fmt.Sprintf(release, "echo migrating to $$VERSION; sleep 3; echo no such column >&2; exit 4", "1m"))
	r := a.Run("deploy").Want(t, exitRolledBack, "web.release | migrating to v2", "web.release | no such column",
		"waiting, 0 of 2 ready, 2 old: release command of web runs", "release command of web failed: exited with code 4",
		`its last output: "migrating to v2 / no such column"`)
	if strings.Contains(r.Stderr, "starting") {
		t.Errorf("tasks of the new release were made\n%s", r)
	}
	after := a.Tasks("web")
	if len(after) != 2 || after[0].ID != before[0].ID || after[1].ID != before[1].ID {
		t.Errorf("the old release's tasks were touched: %+v", after)
	}
	a.web("v2", fmt.Sprintf(release, "sleep 60", "5s"))
	a.Run("deploy").Want(t, exitRolledBack, "release command of web timed out: not over after 5s")
	if got := a.Get("/"); got != "v1" {
		t.Errorf("app answers %q", got)
	}
	a.web("v2", fmt.Sprintf(release, "echo migrated", "1m"))
	a.Deploy().Want(t, exitDone, "web.release | migrated")
	if got := a.Get("/"); got != "v2" {
		t.Errorf("app answers %q", got)
	}
	a.Run("restart").Want(t, exitDone)
	a.Run("rollback", "1").Want(t, exitDone)
	if n := len(a.jobs().Jobs); n != 3 {
		t.Errorf("%d release commands ran, a restart and a rollback run none", n)
	}
	load.StopClean(t, 50)
	a.Run("logs", "web").Want(t, exitDone, "web.release", "no such column")
}

// TestCancelDuringReleaseCommand stops the command with its deployment.
func TestCancelDuringReleaseCommand(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	a.web("v2", `      release: ["sleep", "300"]`)
	a.Run("deploy", "--detach").Want(t, exitDone)
	Until(t, 20*time.Second, func() string {
		if list := a.jobs().Jobs; len(list) != 1 || list[0].State != api.JobRunning {
			return "it does not run"
		}
		return ""
	})
	a.Run("cancel").Want(t, exitDone)
	a.Run("watch").Want(t, exitCancelled)
	if j := a.jobs().Jobs[0]; j.State != api.JobStopped {
		t.Errorf("the command is %s: %s", j.State, j.Reason)
	}
}

// TestReleaseCommandOutlivesIkada kills ikada while a release command runs: it runs once, and the deployment goes on.
func TestReleaseCommandOutlivesIkada(t *testing.T) {
	t.Parallel()
	n := NewNode(t).WithImages(t)
	a := n.App(t)
	compose := func(version, more string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    volumes: ["data:/data"]
    x-ikada:
      strategy: {monitor: 1s}
` + more + `
volumes: {data: {}}
`)
	}
	compose("v1", "")
	a.Deploy()
	compose("v2", `      release: ["sh", "-c", "echo ran >>/data/runs; while ! [ -e /data/go ]; do sleep 0.1; done; echo over >>/data/runs"]`)
	a.Run("deploy", "--detach").Want(t, exitDone)
	for i := range 2 {
		Until(t, 20*time.Second, func() string {
			if list := a.jobs().Jobs; len(list) != 1 || list[0].State != api.JobRunning {
				return "it does not run"
			}
			return ""
		})
		n.Kill(t)
		time.Sleep(time.Duration(i) * time.Second) // for nobody to look after it
		n.Start(t)
	}
	a.Shell("web", "touch /data/go")
	a.Run("watch").Want(t, exitDone, "succeeded")
	if got := a.Shell("web", "cat /data/runs"); got != "ran\nover" {
		t.Errorf("the command wrote %q", got)
	}
	if list := a.jobs().Jobs; len(list) != 1 || list[0].State != api.JobSucceeded {
		t.Errorf("jobs %v is %s", list, list[0].State)
	}

	// An attached run goes on with its client, which gets every line once.
	cmd := a.Command(t.Context(), a.Path, "run", "web", "--", "sh", "-c", "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo $i; sleep 0.2; done; exit 9")
	out := &screen{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	Until(t, 20*time.Second, func() string {
		if !strings.Contains(out.String(), "5\n") {
			return "it prints nothing"
		}
		return ""
	})
	n.Kill(t)
	time.Sleep(time.Second)
	n.Start(t)
	err := cmd.Wait()
	want := ""
	for i := range 30 {
		want += fmt.Sprintln(i + 1)
	}
	if out.String() != want || cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("after a restart it ended with %v and printed %q", err, out.String())
	}
}

// TestCron runs a schedule, its history, its trigger, and its pause while the environment is down.
func TestCron(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1", `      cron:
        tick: {schedule: "*/2 * * * * *", command: ["sh", "-c", "echo tick $$VERSION"]}
        slow: {schedule: "@every 1s", command: ["sleep", "30"], timeout: 3s, missed: skip}
        never: {schedule: "0 3 1 1 *", timezone: Europe/Berlin, command: ["sh", "-c", "echo asked; exit 2"]}`)
	a.Deploy()
	ended := func(name string, state api.JobState) (n int) {
		for _, j := range a.jobs().Jobs {
			if j.Name == name && j.State == state {
				n++
			}
		}
		return n
	}
	Until(t, 30*time.Second, func() string {
		if n, slow := ended("tick", api.JobSucceeded), ended("slow", api.JobTimedOut); n < 3 || slow < 1 {
			return fmt.Sprintf("tick has run %d times, slow was stopped %d times", n, slow)
		}
		return ""
	})
	list := a.jobs()
	last := time.Time{}
	live := map[string]int{}
	for _, j := range slices.Backward(list.Jobs) {
		if !j.State.Final() {
			live[j.Name]++
		}
		if j.Name != "tick" {
			continue
		}
		if !j.Due.After(last) || j.Due.Second()%2 != 0 || j.Due.Nanosecond() != 0 {
			t.Errorf("a run was due at %s, the one before at %s", j.Due, last)
		}
		last = j.Due
	}
	if live["tick"] > 1 || live["slow"] > 1 {
		t.Errorf("runs overlap: %v", live)
	}
	a.Run("logs", "web").Want(t, exitDone, "web.tick", "tick v1")
	a.Run("jobs").Want(t, exitDone, "web.never", "0 3 1 1 *", "Europe/Berlin", "never", "web.slow")
	Until(t, 20*time.Second, func() string { // told until the next run begins
		if r := a.Run("jobs").Want(t, exitDone); !strings.Contains(r.Stdout, "was not over") {
			return "no word of a run that was left out: " + r.Stdout
		}
		return ""
	})
	id := strings.TrimSpace(a.Run("jobs", "trigger", "never").Want(t, exitDone).Stdout)
	if !regexp.MustCompile(`^[a-z0-9]+$`).MatchString(id) {
		t.Errorf("trigger prints %q", id)
	}
	Until(t, 20*time.Second, func() string {
		if ended("never", api.JobFailed) == 0 {
			return "what was triggered has not ended"
		}
		return ""
	})
	a.Run("logs", id).Want(t, exitDone, "asked")
	a.Run("jobs", "trigger", "nothing").Want(t, exitError, "web.never")
	a.Run("events").Want(t, exitDone, "web.never failed: exited with code 2")

	a.Run("down").Want(t, exitDone)
	Until(t, 20*time.Second, func() string {
		if r := a.Run("jobs").Want(t, exitDone, "suspended"); !strings.Contains(r.Stdout+r.Stderr, "No job") {
			return "a run goes on: " + r.Stdout
		}
		return ""
	})
	newest := a.jobs().Jobs[0].ID
	time.Sleep(3 * time.Second)
	if now := a.jobs().Jobs[0].ID; now != newest {
		t.Errorf("a run began while the environment was down")
	}
	a.Run("run", "web", "--", "true").Want(t, exitError, "is down")
	a.Run("start").Want(t, exitDone)
	Until(t, 20*time.Second, func() string {
		if a.jobs().Jobs[0].ID == newest {
			return "nothing runs again"
		}
		return ""
	})
}
