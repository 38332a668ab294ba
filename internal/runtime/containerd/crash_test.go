package containerd

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/process"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

// killDaemon kills containerd as a crash would, and waits until it is gone.
func (in *instance) killDaemon(t *testing.T) {
	t.Helper()
	p := in.daemon.supervisor.Current()
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
}

// supervise keeps containerd running until the test's end.
func (in *instance) supervise(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.daemon.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestExitWhileContainerdIsDead(t *testing.T) {
	in := newInstance(t, nil)
	s := in.subject()
	exits := s.Runtime.Exits(t.Context())
	runtimetest.Create(t, s, "ends", []string{"sh", "-c", "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done"})
	runtimetest.Create(t, s, "stays", s.Sleep())
	waitFor(t, in, "ends", "up")
	pid := in.pid(t, "ends")
	in.killDaemon(t)
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := runtimetest.WaitExit(t, exits, "ends"); e.Code == nil || *e.Code != 42 {
		t.Fatalf("exit is %+v, want code 42 while containerd is dead", e)
	}
	in.supervise(t)
	states, err := in.runtime.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range states {
		if st.Running != (st.ID == "stays") {
			t.Errorf("after the restart: %+v", st)
		}
	}
	if len(states) != 2 {
		t.Errorf("%d containers, want 2", len(states))
	}
}

func TestContainerdKilledTwice(t *testing.T) {
	in := newInstance(t, nil)
	in.supervise(t)
	s := in.subject()
	exits := s.Runtime.Exits(t.Context())
	const n = 400
	runtimetest.Create(t, s, "writes", []string{"sh", "-c", "i=0; while [ $i -lt " + strconv.Itoa(n) + " ]; do echo line $i; i=$((i+1)); [ $((i%100)) -eq 0 ] && sleep 0.3; done; exit 9"})
	for _, line := range []string{"line 50", "line 150"} {
		waitFor(t, in, "writes", line)
		in.killDaemon(t)
	}
	if e := runtimetest.WaitExit(t, exits, "writes"); e.Code == nil || *e.Code != 9 {
		t.Fatalf("exit is %+v, want code 9", e)
	}
	all := runtimetest.ReadLog(t, in.runtime, "writes", agent.LogQuery{Tail: -1})
	if len(all) != n {
		t.Fatalf("%d lines, want %d", len(all), n)
	}
	for i, rec := range all {
		if rec.Text != "line "+strconv.Itoa(i) {
			t.Fatalf("line %d is %q", i, rec.Text)
		}
	}
	// The instance works as before.
	runtimetest.Create(t, s, "after", s.Exit(1))
	if e := runtimetest.WaitExit(t, exits, "after"); e.Code == nil || *e.Code != 1 {
		t.Fatalf("exit is %+v, want code 1", e)
	}
}

func TestContainerdIsBackSoon(t *testing.T) {
	in := newInstance(t, nil)
	in.supervise(t)
	if _, err := in.runtime.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := in.daemon.PID()
	in.killDaemon(t)
	began := time.Now()
	if _, err := in.runtime.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("back after %v", time.Since(began))
	// The daemon takes a process for its own only once it has answered the daemon too.
	for deadline := time.Now().Add(time.Minute); in.daemon.PID() == first; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("containerd has the same process ID")
		}
	}
}

func TestCreateWhileContainerdIsKilled(t *testing.T) {
	in := newInstance(t, nil)
	in.supervise(t)
	s := in.subject()
	for i := range 5 {
		id := "c" + strconv.Itoa(i)
		done := make(chan error, 1)
		go func() {
			done <- s.Runtime.Create(t.Context(), agent.Container{ID: id, Image: s.Image, Spec: command(s.Sleep())})
		}()
		time.Sleep(time.Duration(i*20) * time.Millisecond) // a different moment of the creation each time
		in.killDaemon(t)
		err := <-done
		states, lerr := in.runtime.List(t.Context())
		if lerr != nil {
			t.Fatal(lerr)
		}
		if err == nil && (len(states) != 1 || !states[0].Running) {
			t.Fatalf("killed after %d ms: created, but the list is %+v", i*20, states)
		}
		if err != nil && len(states) != 0 {
			t.Fatalf("killed after %d ms: create gives %v, but leaves %+v", i*20, err, states)
		}
		if err := s.Runtime.Remove(t.Context(), id); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
}

// A file system whose container was never noted, because ikada was killed in between, does not stay.
func TestSweep(t *testing.T) {
	in := newInstance(t, nil)
	runtimetest.Create(t, in.subject(), "kept", in.subject().Sleep())
	ctx := inNamespace(t.Context())
	service := in.runtime.Client().SnapshotService(in.runtime.Snapshotter())
	if _, err := service.Prepare(ctx, "left", "", snapshots.WithLabels(map[string]string{labelRoot: "true", labelTask: "true"})); err != nil {
		t.Fatal(err)
	}
	if _, err := in.runtime.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Stat(ctx, "left"); !errdefs.IsNotFound(err) {
		t.Errorf("what was left behind: %v", err)
	}
	if _, err := service.Stat(ctx, "kept"); err != nil {
		t.Errorf("what is in use: %v", err)
	}
}

func TestShimKilled(t *testing.T) {
	in := newInstance(t, nil)
	s := in.subject()
	exits := s.Runtime.Exits(t.Context())
	runtimetest.Create(t, s, "orphan", s.Sleep())
	pids := shims(in.cfg)
	if len(pids) != 1 {
		t.Fatalf("shims: %v, want one", pids)
	}
	pid := in.pid(t, "orphan")
	if err := unix.Kill(pids[0].pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e := runtimetest.WaitExit(t, exits, "orphan")
	if e.Code != nil && *e.Code != 137 {
		t.Errorf("exit is %+v, want 137 or unknown", e)
	}
	if alive(pid) {
		t.Error("the process of a container without its shim still runs")
	}
}

func TestAdoption(t *testing.T) {
	in := newInstance(t, nil)
	s := in.subject()
	runtimetest.Create(t, s, "stays", s.Sleep())
	second, err := NewDaemon(in.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second.PID() != in.daemon.PID() {
		t.Fatalf("a second containerd runs: %d beside %d", second.PID(), in.daemon.PID())
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	states, err := in.runtime.List(t.Context())
	if err != nil || len(states) != 1 || !states[0].Running {
		t.Fatalf("after a stop and a start: %+v, %v", states, err)
	}
	in.daemon = second
}

func TestTwoInstances(t *testing.T) {
	a, b := newInstance(t, nil), newInstance(t, nil)
	runtimetest.Create(t, a.subject(), "same", a.subject().Sleep())
	if err := b.runtime.Create(t.Context(), agent.Container{ID: "same", Image: b.image, Spec: command(b.subject().Sleep())}); err != nil {
		t.Fatal(err)
	}
	if err := Reset(t.Context(), b.cfg); err != nil {
		t.Fatalf("reset: %v", err)
	}
	states, err := a.runtime.List(t.Context())
	if err != nil || len(states) != 1 || !states[0].Running {
		t.Fatalf("the other instance has %+v, %v; want its container to run", states, err)
	}
	if left := shims(b.cfg); len(left) != 0 {
		t.Errorf("shims left by reset: %v", left)
	}
	if dirs := cgroupDirs(b.cfg.CgroupRoot()); len(dirs) != 0 {
		t.Errorf("cgroups left by reset: %v", dirs)
	}
}

func TestRemoveAll(t *testing.T) {
	in := newInstance(t, nil)
	if err := in.runtime.Create(t.Context(), agent.Container{ID: "one", Image: in.image, Spec: command(in.subject().Sleep())}); err != nil {
		t.Fatal(err)
	}
	if err := in.runtime.RemoveAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := in.daemon.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := shims(in.cfg); len(left) != 0 {
		t.Errorf("shims left: %v", left)
	}
	if p, err := process.Adopt(in.cfg.pidPath()); err != nil || p != nil {
		t.Errorf("containerd still runs: %v, %v", p, err)
	}
}

// alive tells whether a process is there and has not ended; one that nobody reaps has ended.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func waitFor(t *testing.T, in *instance, id, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := in.runtime.Logs(ctx, id, agent.LogQuery{Tail: -1, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		rec, err := l.Next()
		if err != nil {
			t.Fatalf("no line %q of %s: %v", line, id, err)
		}
		if strings.TrimSpace(rec.Text) == line {
			return
		}
	}
}

// pid gives the host's ID of a container's first process.
func (in *instance) pid(t *testing.T, id string) int {
	t.Helper()
	c, err := in.runtime.Client().LoadContainer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	task, err := c.Task(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return int(task.Pid())
}
