package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

func (n *faultNode) tasks(all bool) []api.TaskView {
	n.t.Helper()
	ts, err := n.api.Tasks(n.t.Context(), faultRef, all)
	if err != nil {
		n.t.Fatalf("list tasks: %v", err)
	}
	return ts
}

func (n *faultNode) environment() api.EnvironmentStatus {
	n.t.Helper()
	e, err := n.api.Environment(n.t.Context(), faultRef)
	if err != nil {
		n.t.Fatalf("read environment: %v", err)
	}
	return e
}

// whole gives an error unless the environment runs each replica of its committed release exactly once, ready.
func (n *faultNode) whole(replicas int) error {
	env := n.environment()
	slots := map[int]int{}
	for _, v := range n.tasks(false) {
		if v.State() != api.TaskReady || v.Release != env.Release {
			return fmt.Errorf("%s of release %d is %s, where release %d is committed: %s", v.Name(), v.Release, v.State(), env.Release, v.Status.Message)
		}
		slots[v.Slot]++
	}
	for s := 1; s <= replicas; s++ {
		if slots[s] != 1 {
			return fmt.Errorf("slot %d has %d tasks", s, slots[s])
		}
	}
	if len(slots) != replicas {
		return fmt.Errorf("%d slots, want %d", len(slots), replicas)
	}
	return nil
}

// places gives, for each place in the kernel and on disk where a live task has something, the tasks that have.
func (n *faultNode) places() map[string][]string {
	out := map[string][]string{
		"containers": faultEntries(filepath.Join(n.stateDir(), "c", "io.containerd.runtime.v2.task", "*", "*")),
		"runc":       faultEntries(filepath.Join(n.stateDir(), "runc", "*", "*")),
		"shims":      n.shimsOf(),
		"namespaces": faultEntries(filepath.Join(n.Dir, "network", "netns", "*")),
		"memory":     faultEntries("/sys/fs/cgroup/memory/ikada-" + instance(n.Dir) + "/tasks.group/*/memory.limit_in_bytes"),
		"unified":    faultEntries("/sys/fs/cgroup/ikada-" + instance(n.Dir) + "/tasks.group/*/cgroup.procs"),
	}
	for name, files := range out {
		if (name == "memory" || name == "unified") && len(files) == 0 {
			delete(out, name) // the machine has the other version of cgroups
		}
	}
	return out
}

// faultEntries gives the task's name in each path that matches: the last element that is no file of the kernel's.
func faultEntries(pattern string) []string {
	paths, _ := filepath.Glob(pattern)
	out := []string{}
	for _, p := range paths {
		if b := filepath.Base(p); strings.HasPrefix(b, "memory.") || strings.HasPrefix(b, "cgroup.") {
			p = filepath.Dir(p)
		}
		out = append(out, filepath.Base(p))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// audit waits until what is on the machine is just what the live tasks have: nothing orphaned, nothing missing.
func (n *faultNode) audit(replicas int) {
	n.t.Helper()
	n.eventually(15*time.Second, "the machine holds just the live tasks", func() error {
		if err := n.whole(replicas); err != nil {
			return err
		}
		live := []string{}
		for _, v := range n.tasks(false) {
			live = append(live, v.ID)
		}
		slices.Sort(live)
		places := n.places()
		for _, name := range slices.Sorted(maps.Keys(places)) {
			if !slices.Equal(places[name], live) {
				return fmt.Errorf("%s are of %v, live tasks %v", name, places[name], live)
			}
		}
		return nil
	})
}

// shims gives the process IDs of the node's shims.
func (n *faultNode) shims() []int { return processesOf(filepath.Join(n.Dir, "bin", "ikada-shim")) }

// shimsOf gives the task of each shim: the last element of its working directory, which is hidden and then removed when
// the task is. A task with two stands there twice.
func (n *faultNode) shimsOf() []string {
	tasks := []string{}
	for _, pid := range n.shims() {
		dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if err != nil {
			continue // it has ended
		}
		tasks = append(tasks, strings.TrimPrefix(filepath.Base(strings.TrimSuffix(dir, " (deleted)")), "."))
	}
	slices.Sort(tasks)
	return tasks
}

// processesOf gives the processes that run a program.
func processesOf(program string) []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, l := range links {
		exe, err := os.Readlink(l)
		if err != nil || strings.TrimSuffix(exe, " (deleted)") != program {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(l, "/proc/%d/exe", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ends checks that every ended task kept its exit code and all its output. Tasks that never ran have neither, and
// excused ones were killed on purpose.
func (n *faultNode) ends(excused func(api.TaskView) bool) (checked int) {
	n.t.Helper()
	for _, v := range n.tasks(true) {
		if !v.State().Final() || v.Status.StartedAt.IsZero() || excused != nil && excused(v) {
			continue
		}
		switch code := v.Status.ExitCode; {
		case code == nil:
			n.t.Errorf("%s %s of release %d: %s without exit code: %s", v.Name(), v.ID, v.Release, v.State(), v.Status.Message)
		case *code != faultExit:
			n.t.Errorf("%s %s of release %d, from %s to %s: exit code %d, want %d: %s (%s)", v.Name(), v.ID, v.Release,
				v.Status.StartedAt.Format(time.StampMilli), v.Status.FinishedAt.Format(time.StampMilli), *code, faultExit, v.Status.Message, v.Reason)
		}
		if err := n.wholeLog(v.ID, true); err != nil {
			n.t.Errorf("log of %s %s: %v", v.Name(), v.ID, err)
		}
		checked++
	}
	return checked
}

// wholeLog checks that the numbered lines of a task are all there, in order; to the last one if it has ended.
func (n *faultNode) wholeLog(task string, ended bool) error {
	next, last := 0, -1
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	err := n.api.Logs(ctx, faultRef, api.LogRequest{Task: task, Tail: -1}, func(l api.LogLine) error {
		var i int
		if _, err := fmt.Sscanf(l.Text, "last %d", &i); err == nil {
			last = i
			return nil
		}
		if _, err := fmt.Sscanf(l.Text, "line %d", &i); err != nil {
			return fmt.Errorf("unknown line %q", l.Text)
		}
		if i != next {
			return fmt.Errorf("line %d after line %d", i, next-1)
		}
		next++
		return nil
	})
	if err == nil && ended && last != next {
		err = fmt.Errorf("%d lines, and the last says %d", next, last)
	}
	return err
}
