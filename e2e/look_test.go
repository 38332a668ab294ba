package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestReadingCommands(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy("-m", "the first")
	a.web("v2")
	a.Deploy()
	for _, c := range []struct {
		args   []string
		plain  []string
		target any
	}{
		{[]string{"ps"}, []string{"TASK", "web.1", "web.2", "ready"}, &[]api.TaskView{}},
		{[]string{"ps", "--all"}, []string{"stopped", "replaced by release 2"}, &[]api.TaskView{}},
		{[]string{"ps", "web"}, []string{"web.1"}, &[]api.TaskView{}},
		{[]string{"status"}, []string{a.Name + "/production", "ok", "2/2", fmt.Sprint(a.Port)}, &api.EnvironmentStatus{}},
		{[]string{"status", "--all"}, []string{a.Name}, &[]api.EnvironmentStatus{}},
		{[]string{"releases"}, []string{"the first"}, &[]api.Release{}},
		{[]string{"deployments"}, []string{"1 → 2", "succeeded"}, &[]api.Deployment{}},
		{[]string{"receipt"}, []string{"1 → 2", "failed        0", "way back"}, &api.Deployment{}},
		{[]string{"receipt", "1"}, []string{"deployment 1"}, &api.Deployment{}},
		{[]string{"nodes"}, []string{"NODE"}, &[]api.Node{}},
		{[]string{"token", "ls"}, []string{"e2e"}, &[]api.TokenView{}},
		{[]string{"version"}, nil, &struct{ Client, Server json.RawMessage }{}},
	} {
		a.Run(c.args...).Want(t, exitDone, c.plain...)
		a.Run(append(c.args, "--json")...).Want(t, exitDone).JSON(t, c.target)
	}
	events := a.Run("events", "--json").Want(t, exitDone)
	types := map[string]int{}
	for line := range strings.Lines(events.Stdout) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("event is not JSON: %v\n%s", err, line)
		}
		types[e.Type]++
	}
	if types["deployment.queued"] != 2 || types["deployment.succeeded"] != 2 {
		t.Errorf("events are %v", types)
	}
	for _, args := range [][]string{
		{"ps", "nothing"}, {"logs", "nothing"}, {"receipt", "99"}, {"watch", "99"}, {"exec", "nothing", "true"},
		{"status", "-a", "nobody"}, {"ps", "-e", "nowhere"},
	} {
		r := a.Run(args...).Want(t, exitError, "error: ")
		last := args[len(args)-1]
		if args[0] == "exec" {
			last = "nothing"
		}
		if !strings.Contains(r.Stderr, last) {
			t.Errorf("the error does not name %s\n%s", last, r)
		}
	}
}

// follower is a `logs -f` that runs until the test's end.
type follower struct {
	t     *testing.T
	lines chan string
	seen  []string // those that await has read
}

func (a *App) followLogs(t *testing.T, service string) *follower {
	t.Helper()
	cmd := a.Command(context.WithoutCancel(t.Context()), a.Path, "logs", "-f", service)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, lines: make(chan string, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(f.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			f.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range f.lines { // lets the reader come to its end
		}
		<-ended
		_ = cmd.Wait()
	})
	return f
}

// await reads on until a line holds the text.
func (f *follower) await(text string) {
	f.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-f.lines:
			if !ok {
				f.t.Fatalf("logs -f ended before %q", text)
			}
			f.seen = append(f.seen, line)
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			f.t.Fatalf("logs -f did not print %q", text)
		}
	}
}

// once fails the test unless just one line held each text.
func (f *follower) once(texts ...string) {
	f.t.Helper()
	for _, text := range texts {
		n := 0
		for _, line := range f.seen {
			if strings.Contains(line, text) {
				n++
			}
		}
		if n != 1 {
			f.t.Errorf("%d lines with %q, expected 1:\n%s", n, text, strings.Join(f.seen, "\n"))
		}
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy("--detach")
	await := a.followLogs(t, "web").await
	await("testapp v1 listens")
	a.Run("watch").Want(t, exitDone)
	a.Get("/say?text=a+word+of+the+first")
	await("a word of the first")
	a.web("v2")
	a.Deploy()
	await("testapp v2 listens") // of the tasks that took the first ones' place
	a.Get("/say?text=a+word+of+the+second")
	await("a word of the second")

	all := a.Run("logs").Want(t, exitDone, "a word of the first", "a word of the second")
	if n := strings.Count(all.Stdout, "testapp v1 starts"); n != 2 {
		t.Errorf("%d tasks of v1 told of their start, expected 2\n%s", n, all)
	}
	tail := a.Run("logs", "--tail", "1").Want(t, exitDone)
	if n := strings.Count(tail.Stdout, "\n"); n < 1 || n > 4 {
		t.Errorf("--tail 1 printed %d lines for 4 tasks\n%s", n, tail)
	}
	// Since the last word: the marker's time tells where that is.
	var marker api.LogLine
	for line := range strings.Lines(a.Run("logs", "--json").Want(t, exitDone).Stdout) {
		var l api.LogLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("log line is not JSON: %v: %s", err, line)
		}
		if l.Text == "a word of the second" {
			marker = l
		}
	}
	if marker.Stream != "stdout" || marker.Service != "web" {
		t.Errorf("marker is %+v", marker)
	}
	since := a.Run("logs", "--since", marker.Time.Format(time.RFC3339Nano)).Want(t, exitDone, "a word of the second")
	if strings.Contains(since.Stdout, "a word of the first") {
		t.Errorf("--since printed older lines\n%s", since)
	}
	a.Run("logs", "--since", "yesterday").Want(t, exitUsage, "yesterday")
	a.Run("logs", "web.1", "-t").Want(t, exitDone, "T", "Z web.1 ")
}
