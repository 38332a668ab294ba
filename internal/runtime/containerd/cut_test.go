package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

// startSteps are the steps of a container's start, in order, each known by what it leaves first.
var startSteps = []struct {
	name string
	path func(cfg Config, id string) string
}{
	{"bundle", Config.bundle},
	{"log", func(c Config, id string) string { return filepath.Join(c.bundle(id), "log") }},
	{"socket", Config.shimSocket},
	{"shim", func(c Config, id string) string { return filepath.Join(c.bundle(id), "bootstrap.json") }},
	{"options", func(c Config, id string) string { return filepath.Join(c.bundle(id), "options.json") }},
	{"runc", Config.runcState},
	{"process", func(c Config, id string) string { return filepath.Join(c.bundle(id), "init.pid") }},
	{"output", func(c Config, id string) string { return filepath.Join(c.taskLog(id), "000001.log") }},
}

// again makes another runtime on the instance, as a restarted ikada does.
func (in *instance) again(t *testing.T) *Runtime {
	t.Helper()
	r, err := New(in.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// cutOff begins to make a container and, once the step is done, kills who is at it: containerd, its client, or both.
// A client that is killed is one whose connection is closed. It gives Create's error.
func (in *instance) cutOff(t *testing.T, c agent.Container, step int, victim string) error {
	t.Helper()
	first := in.runtime
	if victim != "containerd" {
		first = in.again(t)
	}
	created := make(chan error, 1)
	go func() { created <- first.Create(context.WithoutCancel(t.Context()), c) }()
	path := startSteps[step].path(in.cfg, c.ID)
	for deadline := time.Now().Add(time.Minute); !exists(path) && len(created) == 0; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", path)
		}
	}
	if victim != "containerd" {
		_ = first.Close()
	}
	if victim != "client" {
		in.killDaemon(t)
		var err error
		if in.daemon, err = NewDaemon(in.cfg); err != nil {
			t.Fatal(err)
		}
		if err := in.daemon.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return <-created
}

// takeOver does what the agent does with a container that an earlier one was making.
func takeOver(t *testing.T, r *Runtime, c agent.Container) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	states, err := r.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.ID != c.ID {
			continue
		}
		if s.Running || s.Exit != nil && (c.Spec.Restart.RunsToEnd() || !s.Exit.Killed()) {
			return
		}
		if err := r.Remove(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Create(ctx, c); err != nil {
		t.Fatal(err)
	}
}

// lines gives the output of a container, of all attempts.
func lines(t *testing.T, r *Runtime, id string) (out []string) {
	t.Helper()
	l, err := r.Logs(t.Context(), id, agent.LogQuery{Tail: -1})
	if err != nil {
		return nil
	}
	defer l.Close()
	for {
		rec, err := l.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec.Text)
	}
}

// until waits for a condition, which gives what it still waits for.
func until(t *testing.T, limit time.Duration, condition func() string) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		missing := condition()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, missing)
		}
	}
}

// onlyThese gives what of other containers than these, or of these twice, is there.
func (in *instance) onlyThese(ids ...string) string {
	count := map[string]int{}
	for _, id := range ids {
		count[id] = 1
		if n := len(cgroupProcesses(filepath.Join(in.cfg.CgroupPath(defaultCgroup), id))); n != 1 {
			return fmt.Sprintf("%s has %d processes", id, n)
		}
	}
	if n := len(cgroupProcesses(in.cfg.CgroupPath(defaultCgroup))); n != len(ids) {
		return fmt.Sprintf("%d processes", n)
	}
	all := shims(in.cfg)
	for _, s := range all {
		if count[s.id]--; count[s.id] < 0 {
			return fmt.Sprintf("a shim of %s too many", s.id)
		}
	}
	if len(all) != len(ids) {
		return fmt.Sprintf("%d shims", len(all))
	}
	for _, pattern := range []string{in.cfg.bundle("*"), in.cfg.runcState("*")} {
		if found, _ := filepath.Glob(pattern); len(found) != len(ids) {
			return strings.Join(found, ", ")
		}
	}
	return ""
}

// Whoever is killed at whatever step of a container's start: there is one container in the end, which runs, and nothing
// of an earlier attempt.
func TestStartCutOffAtEveryStep(t *testing.T) {
	in := newInstance(t, nil)
	in.runtime.Exits(t.Context())
	for _, victim := range []string{"containerd", "client", "both"} {
		for i, step := range startSteps {
			t.Run(victim+"/"+step.name, func(t *testing.T) {
				id := victim + "-" + step.name
				c := agent.Container{ID: id, Image: in.image, Spec: command([]string{"sh", "-c", "echo up; exec sleep 600"})}
				err := in.cutOff(t, c, i, victim)
				began := time.Now()
				if victim == "containerd" && err != nil {
					t.Fatalf("a client that lives gets %v", err)
				}
				if victim != "containerd" {
					takeOver(t, in.again(t), c)
				}
				t.Logf("taken over after %v", time.Since(began).Round(time.Millisecond))
				until(t, time.Minute, func() string { return in.onlyThese(id) })
				until(t, time.Minute, func() string {
					if len(lines(t, in.runtime, id)) == 0 {
						return "output"
					}
					return ""
				})
				states, err := in.runtime.List(t.Context())
				if err != nil || len(states) != 1 || states[0].ID != id || !states[0].Running {
					t.Fatalf("list is %+v, %v", states, err)
				}
				if err := in.runtime.Signal(t.Context(), id, "SIGTERM"); err != nil {
					t.Error(err)
				}
				if err := in.runtime.Remove(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				until(t, time.Minute, func() string { return in.onlyThese() })
			})
		}
	}
	ctx := inNamespace(t.Context())
	err := in.runtime.Client().SnapshotService(in.runtime.Snapshotter()).Walk(ctx, func(_ context.Context, s snapshots.Info) error {
		t.Errorf("snapshot %s is left", s.Name)
		return nil
	}, fmt.Sprintf("labels.%q==true", labelTask))
	if err != nil {
		t.Fatal(err)
	}
}

// What runs to its end runs once, whoever is killed while it is started.
func TestJobCutOffRunsOnce(t *testing.T) {
	in := newInstance(t, nil)
	for _, victim := range []string{"containerd", "client", "both"} {
		for i, step := range startSteps[4:] {
			t.Run(victim+"/"+step.name, func(t *testing.T) {
				r, id := in.runtime, "job-"+victim+"-"+step.name
				spec := command([]string{"sh", "-c", "echo ran; sleep 0.2; exit 7"})
				spec.Restart = api.RestartPolicy{Condition: api.RestartNone}
				c := agent.Container{ID: id, Image: in.image, Spec: spec}
				err := in.cutOff(t, c, i+4, victim)
				if victim == "containerd" && err != nil {
					t.Fatalf("a client that lives gets %v", err)
				}
				if victim != "containerd" {
					r = in.again(t)
					takeOver(t, r, c)
				}
				if e := runtimetest.WaitExit(t, r.Exits(t.Context()), id); e.Code == nil || *e.Code != 7 {
					t.Errorf("exit is %+v, want code 7", e)
				}
				if got := lines(t, in.runtime, id); len(got) != 1 || got[0] != "ran" {
					t.Errorf("output is %q, want it once", got)
				}
				if err := in.runtime.Remove(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// A snapshot that containerd had made and not noted when it was killed is in nobody's way: the next one gets its number.
func TestSnapshotNotNoted(t *testing.T) {
	in := newInstance(t, nil)
	runtimetest.Create(t, in.subject(), "before", []string{"sleep", "600"})
	dir := filepath.Join(in.cfg.rootDir(), "io.containerd.snapshotter.v1."+in.runtime.Snapshotter(), "snapshots")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, e := range entries {
		n, _ := strconv.Atoi(e.Name())
		last = max(last, n)
	}
	in.killDaemon(t)
	orphan := filepath.Join(dir, strconv.Itoa(last+1))
	if err := os.MkdirAll(filepath.Join(orphan, "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	in.supervise(t)
	runtimetest.Create(t, in.subject(), "after", []string{"sleep", "600"})
	runtimetest.Create(t, in.subject(), "later", []string{"sleep", "600"})
}

// A shim that hangs, and of which containerd knows nothing any more, is in nobody's way: the next start of its container
// would connect to its socket and wait for ever.
func TestShimThatHangs(t *testing.T) {
	in := newInstance(t, nil)
	s := in.subject()
	runtimetest.Create(t, s, "hangs", s.Sleep())
	hung := shims(in.cfg)
	if len(hung) != 1 {
		t.Fatalf("shims: %v, want one", hung)
	}
	if err := unix.Kill(hung[0].pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A containerd that starts gives such a shim up after five seconds, and removes its directory.
	in.killDaemon(t)
	in.supervise(t)
	second := in.again(t)
	began := time.Now()
	takeOver(t, second, agent.Container{ID: "hangs", Image: in.image, Spec: command([]string{"sleep", "600"})})
	t.Logf("taken over after %v", time.Since(began).Round(time.Millisecond))
	until(t, time.Minute, func() string { return in.onlyThese("hangs") })
	if alive(hung[0].pid) {
		t.Error("the shim that hangs is there")
	}
}

// A shim that hangs under a containerd that knows it is ended with what it holds.
func TestRemoveWithShimThatHangs(t *testing.T) {
	in := newInstance(t, nil)
	runtimetest.Create(t, in.subject(), "hangs", []string{"sleep", "600"})
	hung := shims(in.cfg)
	if len(hung) != 1 {
		t.Fatalf("shims: %v, want one", hung)
	}
	if err := unix.Kill(hung[0].pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := in.runtime.Remove(t.Context(), "hangs"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("took %v", took)
	}
	if missing := in.onlyThese(); missing != "" {
		t.Error(missing)
	}
	runtimetest.Create(t, in.subject(), "hangs", []string{"sleep", "600"})
}

// bareShim starts a shim as "ikada-shim start" does, which has no container yet. The channel is closed at its end.
func (in *instance) bareShim(t *testing.T, id string, withReader bool) (pid int, ended <-chan struct{}) {
	t.Helper()
	dir := in.cfg.bundle(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "log"), 0o600); err != nil {
		t.Fatal(err)
	}
	if withReader {
		reader, err := os.OpenFile(filepath.Join(dir, "log"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = reader.Close() })
	}
	if err := os.Symlink(in.cfg.socketDir(), filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(in.cfg.socketDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: in.cfg.shimSocket(id)})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(in.cfg.shimPath(), "-namespace", Namespace, "-id", id, "-address", in.cfg.Address())
	cmd.Dir, cmd.ExtraFiles, cmd.Env = dir, []*os.File{socket}, []string{"TTRPC_ADDRESS=" + in.cfg.ttrpcAddress()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = l.Close(), socket.Close()
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	return cmd.Process.Pid, done
}

// A shim whose containerd was killed before it read the shim's log ends by itself, and its socket with it.
func TestShimWithoutContainerd(t *testing.T) {
	in := newInstance(t, nil)
	_, ended := in.bareShim(t, "alone", false)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it waits for ever")
	}
	if exists(in.cfg.shimSocket("alone")) {
		t.Error("its socket is there")
	}
}

// A shim without a container is given a while to end, and is then ended, also when nobody starts that container again.
func TestSweepOfShims(t *testing.T) {
	in := newInstance(t, nil)
	runtimetest.Create(t, in.subject(), "kept", []string{"sleep", "600"})
	ctx := inNamespace(t.Context())
	pid, ended := in.bareShim(t, "idle", true)
	if again, err := in.runtime.sweep(ctx); err != nil || again != shimEnds {
		t.Fatalf("the first sweep wants to look again after %v, %v", again, err)
	}
	in.runtime.strays[pid] = time.Now().Add(time.Minute) // as if it were found just now, however long the first one took
	if again, err := in.runtime.sweep(ctx); err != nil || again != shimEnds || !alive(pid) {
		t.Fatalf("the second sweep wants to look again after %v, %v", again, err)
	}
	in.runtime.strays[pid] = time.Now().Add(-shimEnds)
	if again, err := in.runtime.sweep(ctx); err != nil || again != sweepEvery {
		t.Fatalf("the third sweep wants to look again after %v, %v", again, err)
	}
	<-ended
	if all := shims(in.cfg); len(all) != 1 || all[0].id != "kept" {
		t.Errorf("shims are %v, want that in use", all)
	}
}

// What containerd is just removing of an attempt that was cut off is waited for; what it does not remove is removed.
func TestSettle(t *testing.T) {
	in := newInstance(t, nil)
	settles := func(remove bool) time.Duration {
		dir := in.cfg.bundle("left")
		if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o700); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if remove {
			time.AfterFunc(200*time.Millisecond, func() { _ = os.RemoveAll(dir) })
		}
		if err := in.runtime.settle(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		if exists(dir) {
			t.Errorf("%s is there", dir)
		}
		return time.Since(began)
	}
	if took := settles(true); took < 200*time.Millisecond || took > in.runtime.settling.itself {
		t.Errorf("waited %v", took)
	}
	in.runtime.settling.itself, in.runtime.settling.atAll = 100*time.Millisecond, 300*time.Millisecond
	if took := settles(false); took < in.runtime.settling.atAll {
		t.Errorf("waited only %v", took)
	}
}
