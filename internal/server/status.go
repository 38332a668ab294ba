package server

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// World is what an environment's status is made of.
type World struct {
	Env        api.Environment
	Deployment *api.Deployment // the running one, else the last; nil when there was none
	Release    *api.Release    // that should run: a running deployment's target, else the committed one
	Tasks      []api.TaskView  // of the environment, ended ones too, sorted by service, slot and age
	Nodes      []api.Node      // all
	Balancers  []api.BalancerStatus
	LastWords  map[string]string // task → last line of its output, where it is known
	Lock       *api.Lock         // the one in force, if there is one
	Now        time.Time
}

// Summarize sums up an environment. It is a pure function.
func Summarize(w *World) api.EnvironmentStatus {
	s := api.EnvironmentStatus{Environment: w.Env, Deployment: w.Deployment, Lock: w.Lock, Services: []api.ServiceStatus{}}
	names := map[string]bool{}
	if w.Release != nil {
		for name := range w.Release.Spec.Services {
			names[name] = true
		}
	}
	for i := range w.Tasks {
		if t := &w.Tasks[i]; !t.State().Final() {
			names[t.Service] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s.Services = append(s.Services, w.service(name))
	}
	s.State = worst(s.Services)
	for _, n := range w.Nodes {
		for _, p := range n.Problems {
			if !n.Down {
				s.Problems = append(s.Problems, n.Name+": "+p)
			}
		}
	}
	return s
}

// worst gives an environment's state: down when no service that should serve does, degraded when some are not well.
func worst(services []api.ServiceStatus) string {
	count := map[string]int{}
	for _, s := range services {
		count[s.State]++
	}
	wanted := len(services) - count[api.HealthStopped] - count[api.HealthCompleted]
	switch {
	case count[api.HealthStopped] == len(services):
		return api.HealthStopped
	case wanted == 0:
		return api.HealthCompleted
	case count[api.HealthDown] == wanted:
		return api.HealthDown
	case count[api.HealthDown]+count[api.HealthDegraded] > 0:
		return api.HealthDegraded
	}
	return api.HealthOK
}

// service sums up one service.
func (w *World) service(name string) api.ServiceStatus {
	s := api.ServiceStatus{Service: name}
	var spec api.ServiceSpec
	known := false
	if w.Release != nil {
		spec, known = w.Release.Spec.Services[name]
	}
	if known {
		s.Image, s.Want = spec.Image, w.Env.Replicas(name, spec)
		s.Ports, s.Routes = reach(spec)
	}
	tasks := slices.DeleteFunc(slices.Clone(w.Tasks), func(t api.TaskView) bool { return t.Service != name })
	releases := map[uint64]bool{}
	for i := range tasks {
		t := &tasks[i]
		if t.State().Final() {
			continue
		}
		s.Live++
		releases[t.Release] = true
		if t.State() == api.TaskReady && !t.Status.Unhealthy && t.Desired == api.WantRunning {
			s.Ready++
		}
	}
	s.Releases = slices.Sorted(maps.Keys(releases))
	listener := w.listenerProblem(spec)
	switch {
	case s.Want == 0:
		s.State = api.HealthStopped
		if s.Live > 0 {
			s.Problem = plural(s.Live, "task") + " still to stop"
		}
		return s
	case spec.Restart.RunsToEnd() && completed(tasks, s.Want):
		s.State = api.HealthCompleted
		return s
	case s.Ready >= s.Want && listener == "":
		s.State = api.HealthOK
		return s
	case s.Ready == 0:
		s.State = api.HealthDown
	default:
		s.State = api.HealthDegraded
	}
	s.Problem = cmp.Or(w.problem(tasks, spec), listener)
	return s
}

// completed tells whether the newest task of every slot has ended as wanted.
func completed(tasks []api.TaskView, want int) bool {
	newest := newestBySlot(tasks)
	for slot := 1; slot <= want; slot++ {
		t := newest[slot]
		if t == nil || t.State() != api.TaskStopped || t.Status.ExitCode == nil || *t.Status.ExitCode != 0 {
			return false
		}
	}
	return true
}

func newestBySlot(tasks []api.TaskView) map[int]*api.TaskView {
	newest := map[int]*api.TaskView{}
	for i := range tasks {
		t := &tasks[i]
		if old := newest[t.Slot]; old == nil || !t.CreatedAt.Before(old.CreatedAt) {
			newest[t.Slot] = t
		}
	}
	return newest
}

// problem gives the sentence that explains best why a service has too few ready tasks.
func (w *World) problem(tasks []api.TaskView, spec api.ServiceSpec) string {
	newest := newestBySlot(tasks)
	slots := slices.Sorted(maps.Keys(newest))
	// The worst slot speaks for all: the one that failed most often in a row.
	var worst *api.TaskView
	failures := 0
	for _, slot := range slots {
		if n := failuresInRow(newest[slot]); n > failures {
			worst, failures = newest[slot], n
		}
	}
	if worst != nil {
		return w.failure(tasks, worst, failures, spec)
	}
	for _, find := range []func(*api.TaskView) string{w.lost, unhealthy, w.waiting, notReady} {
		var said string
		n := 0
		for _, slot := range slots {
			if t := newest[slot]; !t.State().Final() {
				if sentence := find(t); sentence != "" {
					n++
					said = cmp.Or(said, sentence)
				}
			}
		}
		if n > 1 {
			return fmt.Sprintf("%s: %s", plural(n, "task"), said)
		}
		if n == 1 {
			return said
		}
	}
	switch {
	case len(tasks) == 0 && w.Deployment != nil && w.Deployment.State == api.DeployQueued:
		return fmt.Sprintf("deployment %d is queued", w.Deployment.Number)
	case len(tasks) == 0:
		return "no task has been made yet"
	}
	return ""
}

// failuresInRow gives how often a slot has failed in a row, its newest task included.
func failuresInRow(newest *api.TaskView) int {
	if newest.State() == api.TaskReady && !newest.Status.Unhealthy {
		return 0
	}
	n := newest.Attempt
	if newest.State() == api.TaskFailed {
		n++
	}
	return n
}

// failure names what keeps a slot from running: the last failure, how often it came in a row, and what comes next.
func (w *World) failure(tasks []api.TaskView, newest *api.TaskView, failures int, spec api.ServiceSpec) string {
	var failed []*api.TaskView // of the slot, oldest first
	for i := range tasks {
		if t := &tasks[i]; t.Slot == newest.Slot && t.State() == api.TaskFailed {
			failed = append(failed, t)
		}
	}
	if len(failed) == 0 {
		return fmt.Sprintf("failed %s in a row%s", times(failures), w.next(newest))
	}
	last := failed[len(failed)-1]
	said := describeFailure(last, spec)
	if failures > 1 {
		said += ", " + times(failures)
		inRow := failed[max(0, len(failed)-failures):]
		if span := last.Status.FinishedAt.Sub(began(inRow[0])); len(inRow) == failures && span > 0 {
			said += " in " + roundly(span)
		}
		if last.Status.Cause != api.CausePull {
			said = "crash loop: " + said
		}
	}
	said += w.next(newest)
	if words := w.LastWords[last.ID]; words != "" {
		said += "; last output: " + words
	}
	return said
}

func began(t *api.TaskView) time.Time {
	if !t.Status.StartedAt.IsZero() {
		return t.Status.StartedAt
	}
	return t.CreatedAt
}

// describeFailure names a failure by its cause.
func describeFailure(t *api.TaskView, spec api.ServiceSpec) string {
	st := &t.Status
	message := ""
	if st.Message != "" {
		message = ": " + st.Message
	}
	switch st.Cause {
	case api.CauseExit, "":
		return exited(st)
	case api.CauseOOM:
		if spec.Resources.MemoryBytes > 0 {
			return "killed for memory: limit " + bytesText(spec.Resources.MemoryBytes)
		}
		return "killed for memory: the node has none left"
	case api.CausePull:
		return "image " + spec.Image + " cannot be pulled" + message
	case api.CauseStart:
		return "could not be started" + message
	case api.CauseUnhealthy:
		return "never became healthy" + message
	case api.CauseLost:
		return cmp.Or(st.Message, "its container or node "+t.Node+" was lost")
	case api.CauseVolume:
		return "a mount, config or secret is missing" + message
	case api.CauseNetwork:
		return "has no network" + message
	}
	return string(st.Cause) + message
}

// exited tells how a process ended. A shell's 128+n stands for signal n.
func exited(st *api.TaskStatus) string {
	switch {
	case st.ExitCode == nil:
		return cmp.Or(st.Message, "exited, its code could not be learnt")
	case *st.ExitCode > 128 && *st.ExitCode <= 128+64:
		return fmt.Sprintf("killed by %s (exit code %d)", signalName(*st.ExitCode-128), *st.ExitCode)
	}
	return fmt.Sprintf("exited with code %d", *st.ExitCode)
}

func signalName(n int) string {
	return cmp.Or(unix.SignalName(unix.Signal(n)), fmt.Sprintf("signal %d", n))
}

// next tells what becomes of a slot that failed.
func (w *World) next(t *api.TaskView) string {
	if t.State().Final() {
		return ""
	}
	if wait := t.NotBefore.Sub(w.Now); wait > 0 {
		return ", next start in " + roundly(wait)
	}
	switch t.State() {
	case api.TaskRunning:
		return ", running again but not ready yet"
	case api.TaskPending, api.TaskAssigned, api.TaskPulling, api.TaskStarting:
		return ", starting again"
	}
	return ""
}

func (w *World) lost(t *api.TaskView) string {
	down := slices.ContainsFunc(w.Nodes, func(n api.Node) bool { return n.Name == t.Node && n.Down })
	if t.State() != api.TaskUnknown && !down {
		return ""
	}
	return "node " + t.Node + " is not heard from; what becomes of its tasks is unknown"
}

func unhealthy(t *api.TaskView) string {
	if !t.Status.Unhealthy {
		return ""
	}
	return "unhealthy: " + cmp.Or(t.Status.Message, "its check fails")
}

func (w *World) waiting(t *api.TaskView) string {
	if t.State() != api.TaskPending {
		return ""
	}
	if wait := t.NotBefore.Sub(w.Now); wait > 0 {
		return "waits " + roundly(wait) + " before it starts"
	}
	if t.Reason == "" {
		return ""
	}
	return "pending: " + t.Reason
}

func notReady(t *api.TaskView) string {
	switch t.State() {
	case api.TaskAssigned, api.TaskPulling, api.TaskStarting, api.TaskRunning:
		if t.Status.Message != "" {
			return string(t.State()) + ": " + t.Status.Message
		}
		return string(t.State()) + ", not ready yet"
	}
	return ""
}

// listenerProblem tells of a published port that a node cannot open.
func (w *World) listenerProblem(spec api.ServiceSpec) string {
	for _, p := range spec.Ports {
		if p.Published == 0 {
			continue
		}
		for _, b := range w.Balancers {
			for _, address := range slices.Sorted(maps.Keys(b.Problem)) {
				host, port, err := net.SplitHostPort(address)
				if err != nil || port != strconv.Itoa(int(p.Published)) {
					continue
				}
				if everyAddress(p.HostIP) && everyAddress(host) || p.HostIP == host {
					return fmt.Sprintf("port %d cannot be opened on node %s: %s", p.Published, b.Node, b.Problem[address])
				}
			}
		}
	}
	return ""
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}

func times(n int) string {
	words := []string{"no times", "once", "twice", "three times", "four times", "five times"}
	if n < len(words) {
		return words[n]
	}
	return strconv.Itoa(n) + " times"
}

// roundly gives a duration as people say it.
func roundly(d time.Duration) string {
	switch {
	case d < time.Second:
		return "under 1 s"
	case d < 2*time.Minute:
		return strconv.Itoa(int((d+time.Second/2)/time.Second)) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int((d+time.Minute/2)/time.Minute)) + " min"
	}
	return strconv.Itoa(int((d+time.Hour/2)/time.Hour)) + " h"
}

// bytesText gives a size in the largest binary unit that leaves no long fraction.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + " " + units[i]
}
