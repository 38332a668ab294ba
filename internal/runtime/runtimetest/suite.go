// Package runtimetest is the suite that every agent.Runtime passes, the fake as well as containerd. It only says what
// the interface promises; what is special to one implementation is tested there. Start at [Run].
package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

// patience is how long the suite waits for something that must happen.
const patience = time.Minute

// Subject is a runtime under test, and how to have its containers do what the suite needs.
type Subject struct {
	Runtime agent.Runtime
	Image   string // pinned, known to Pull

	Exit  func(code int) []string                             // a command that ends at once
	Print func(stdout, stderr string, then []string) []string // one that prints a line to each stream, then does then
	Sleep func() []string                                     // one that ends with code 0 on SIGTERM; prints "up" when it handles that, then sleeps
}

// Run runs the suite; each test gets a subject of its own.
func Run(t *testing.T, subject func(t *testing.T) Subject) {
	tests := map[string]func(*testing.T, Subject){
		"ExitCode":           testExitCode,
		"Hold":               testHold,
		"ExitsBeforeTheCall": testExitsBeforeTheCall,
		"CreateTwice":        testCreateTwice,
		"List":               testList,
		"Signal":             testSignal,
		"SignalGone":         testSignalGone,
		"RemoveRunning":      testRemoveRunning,
		"RemoveTwice":        testRemoveTwice,
		"Logs":               testLogs,
		"SweepLogs":          testSweepLogs,
		"LogsTail":           testLogsTail,
		"LogsFollow":         testLogsFollow,
		"LogsMissing":        testLogsMissing,
		"PullMissing":        testPullMissing,
		"CreateUnknownImage": testCreateUnknownImage,
		"Exec":               testExec,
		"ExecGone":           testExecGone,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := subject(t)
			if err := s.Runtime.Pull(t.Context(), s.Image, nil); err != nil {
				t.Fatalf("pull: %v", err)
			}
			test(t, s)
		})
	}
}

// Create makes a container with a command and has it removed at the test's end.
func Create(t *testing.T, s Subject, id string, command []string) {
	t.Helper()
	CreateWith(t, s, agent.Container{ID: id, Image: s.Image, Spec: api.ServiceSpec{Command: command}})
}

// CreateWith makes a container and has it removed at the test's end.
func CreateWith(t *testing.T, s Subject, c agent.Container) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Runtime.Remove(context.WithoutCancel(t.Context()), c.ID); err != nil {
			t.Errorf("remove %s: %v", c.ID, err)
		}
	})
	if err := s.Runtime.Create(t.Context(), c); err != nil {
		t.Fatalf("create %s: %v", c.ID, err)
	}
}

// WaitExit gives the exit of a container.
func WaitExit(t *testing.T, exits <-chan agent.Exit, id string) agent.Exit {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e, ok := <-exits:
			if !ok {
				t.Fatalf("the channel of exits was closed")
			}
			if e.ID == id {
				return e
			}
		case <-deadline:
			t.Fatalf("no exit of %s", id)
		}
	}
}

// ReadLog gives every record of a log.
func ReadLog(t *testing.T, r agent.Runtime, id string, q agent.LogQuery) []agent.LogRecord {
	t.Helper()
	l, err := r.Logs(t.Context(), id, q)
	if err != nil {
		t.Fatalf("logs of %s: %v", id, err)
	}
	defer l.Close()
	var all []agent.LogRecord
	for {
		rec, err := l.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("next record of %s: %v", id, err)
		}
		all = append(all, rec)
	}
}

func wantCode(t *testing.T, e agent.Exit, want int) {
	t.Helper()
	if e.Code == nil || *e.Code != want {
		t.Fatalf("exit %+v, want code %d", e, want)
	}
	if e.OOM {
		t.Fatalf("exit %+v, want no OOM", e)
	}
	if e.At.IsZero() {
		t.Fatalf("exit %+v, want a time", e)
	}
}

func testExitCode(t *testing.T, s Subject) {
	exits := s.Runtime.Exits(t.Context())
	Create(t, s, "code", s.Exit(7))
	wantCode(t, WaitExit(t, exits, "code"), 7)
}

func testExitsBeforeTheCall(t *testing.T, s Subject) {
	first := s.Runtime.Exits(t.Context())
	Create(t, s, "early", s.Exit(3))
	wantCode(t, WaitExit(t, first, "early"), 3)
	wantCode(t, WaitExit(t, s.Runtime.Exits(t.Context()), "early"), 3)
}

func testCreateTwice(t *testing.T, s Subject) {
	Create(t, s, "twice", s.Sleep())
	if err := s.Runtime.Create(t.Context(), agent.Container{ID: "twice", Image: s.Image, Spec: api.ServiceSpec{Command: s.Sleep()}}); err != nil {
		t.Fatalf("second create: %v", err)
	}
	if l, err := s.Runtime.List(t.Context()); err != nil || len(l) != 1 {
		t.Fatalf("list gives %v, %v; want one container", l, err)
	}
}

func testList(t *testing.T, s Subject) {
	exits := s.Runtime.Exits(t.Context())
	CreateWith(t, s, agent.Container{ID: "runs", Image: s.Image, Spec: api.ServiceSpec{Command: s.Sleep()}, Labels: map[string]string{"app": "shop"}})
	Create(t, s, "ended", s.Exit(1))
	WaitExit(t, exits, "ended")
	l, err := s.Runtime.List(t.Context())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	slices.SortFunc(l, func(a, b agent.ContainerState) int { return strings.Compare(a.ID, b.ID) })
	if len(l) != 2 || l[0].ID != "ended" || l[1].ID != "runs" {
		t.Fatalf("list gives %+v", l)
	}
	if l[0].Running || l[0].Exit == nil || l[0].Exit.Code == nil || *l[0].Exit.Code != 1 {
		t.Errorf("ended container is %+v", l[0])
	}
	if !l[1].Running || l[1].Exit != nil || len(l[1].Labels) != 1 || l[1].Labels["app"] != "shop" || l[1].StartedAt.IsZero() {
		t.Errorf("running container is %+v", l[1])
	}
}

func testSignal(t *testing.T, s Subject) {
	exits := s.Runtime.Exits(t.Context())
	Create(t, s, "term", s.Sleep())
	waitLine(t, s, "term", "up")
	if err := s.Runtime.Signal(t.Context(), "term", "TERM"); err != nil {
		t.Fatalf("signal: %v", err)
	}
	wantCode(t, WaitExit(t, exits, "term"), 0)
	Create(t, s, "kill", s.Sleep())
	if err := s.Runtime.Signal(t.Context(), "kill", "9"); err != nil {
		t.Fatalf("signal: %v", err)
	}
	wantCode(t, WaitExit(t, exits, "kill"), 137)
}

func testSignalGone(t *testing.T, s Subject) {
	if err := s.Runtime.Signal(t.Context(), "never", "SIGTERM"); err != nil {
		t.Fatalf("signal to none: %v", err)
	}
	exits := s.Runtime.Exits(t.Context())
	Create(t, s, "ended", s.Exit(0))
	WaitExit(t, exits, "ended")
	if err := s.Runtime.Signal(t.Context(), "ended", "SIGTERM"); err != nil {
		t.Fatalf("signal to an ended one: %v", err)
	}
	if err := s.Runtime.Signal(t.Context(), "ended", "SIGNONSENSE"); !api.IsKind(err, api.Invalid) {
		t.Fatalf("unknown signal gives %v, want kind invalid", err)
	}
}

func testRemoveRunning(t *testing.T, s Subject) {
	Create(t, s, "gone", s.Sleep())
	waitLine(t, s, "gone", "up")
	if err := s.Runtime.Remove(t.Context(), "gone"); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if l, err := s.Runtime.List(t.Context()); err != nil || len(l) != 0 {
		t.Fatalf("list gives %v, %v; want none", l, err)
	}
	if got := ReadLog(t, s.Runtime, "gone", agent.LogQuery{Tail: -1}); len(got) != 1 || got[0].Text != "up" {
		t.Fatalf("log is %v, want the line that was written", got)
	}
}

func testRemoveTwice(t *testing.T, s Subject) {
	Create(t, s, "gone", s.Exit(0))
	for range 2 {
		if err := s.Runtime.Remove(t.Context(), "gone"); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	if err := s.Runtime.Remove(t.Context(), "never"); err != nil {
		t.Fatalf("remove of none: %v", err)
	}
}

func testLogs(t *testing.T, s Subject) {
	before := time.Now()
	exits := s.Runtime.Exits(t.Context())
	Create(t, s, "logs", s.Print("to out", "to err", s.Exit(0)))
	WaitExit(t, exits, "logs")
	if err := s.Runtime.Remove(t.Context(), "logs"); err != nil {
		t.Fatalf("remove: %v", err)
	}
	all := ReadLog(t, s.Runtime, "logs", agent.LogQuery{Tail: -1})
	slices.SortFunc(all, func(a, b agent.LogRecord) int { return strings.Compare(a.Stream, b.Stream) })
	if len(all) != 2 || all[0].Stream != "stderr" || all[0].Text != "to err" || all[1].Stream != "stdout" || all[1].Text != "to out" {
		t.Fatalf("log is %+v", all)
	}
	for _, rec := range all {
		if rec.Time.Before(before.Add(-time.Second)) || rec.Time.After(time.Now().Add(time.Second)) || rec.Partial {
			t.Errorf("record is %+v", rec)
		}
	}
	if late := ReadLog(t, s.Runtime, "logs", agent.LogQuery{Tail: -1, Since: time.Now().Add(time.Hour)}); len(late) != 0 {
		t.Errorf("since an hour ahead gives %+v", late)
	}
	if early := ReadLog(t, s.Runtime, "logs", agent.LogQuery{Tail: -1, Until: before.Add(-time.Hour)}); len(early) != 0 {
		t.Errorf("until an hour ago gives %+v", early)
	}
	if err := s.Runtime.RemoveLogs(t.Context(), "logs"); err != nil {
		t.Fatalf("remove logs: %v", err)
	}
	if _, err := s.Runtime.Logs(t.Context(), "logs", agent.LogQuery{}); !api.IsKind(err, api.NotFound) {
		t.Fatalf("removed log gives %v, want kind not_found", err)
	}
}

func testSweepLogs(t *testing.T, s Subject) {
	exits := s.Runtime.Exits(t.Context())
	for _, id := range []string{"kept", "swept"} {
		Create(t, s, id, s.Print("up", "", s.Exit(0)))
		WaitExit(t, exits, id)
		if err := s.Runtime.Remove(t.Context(), id); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	if err := s.Runtime.SweepLogs(t.Context(), func(id string) bool { return id == "kept" }); err != nil {
		t.Fatalf("sweep logs: %v", err)
	}
	if all := ReadLog(t, s.Runtime, "kept", agent.LogQuery{Tail: -1}); len(all) != 1 {
		t.Errorf("kept log is %+v", all)
	}
	if _, err := s.Runtime.Logs(t.Context(), "swept", agent.LogQuery{}); !api.IsKind(err, api.NotFound) {
		t.Errorf("swept log gives %v, want kind not_found", err)
	}
}

func testLogsTail(t *testing.T, s Subject) {
	exits := s.Runtime.Exits(t.Context())
	Create(t, s, "tail", s.Print("1", "", s.Print("2", "", s.Print("3", "", s.Exit(0)))))
	WaitExit(t, exits, "tail")
	for n, want := range map[int]string{0: "", 1: "3", 2: "2 3", 9: "1 2 3", -1: "1 2 3"} {
		var got []string
		for _, rec := range ReadLog(t, s.Runtime, "tail", agent.LogQuery{Tail: n}) {
			got = append(got, rec.Text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("tail %d gives %v, want %s", n, got, want)
		}
	}
}

func testLogsFollow(t *testing.T, s Subject) {
	Create(t, s, "follow", s.Sleep())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := s.Runtime.Logs(ctx, "follow", agent.LogQuery{Tail: -1, Follow: true})
	if err != nil {
		t.Fatalf("logs: %v", err)
	}
	defer l.Close()
	if rec, err := l.Next(); err != nil || rec.Text != "up" {
		t.Fatalf("first record is %+v, %v", rec, err)
	}
	if err := s.Runtime.Remove(t.Context(), "follow"); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if rec, err := l.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the removal comes %+v, %v; want EOF", rec, err)
	}
}

func testLogsMissing(t *testing.T, s Subject) {
	if _, err := s.Runtime.Logs(t.Context(), "never", agent.LogQuery{}); !api.IsKind(err, api.NotFound) {
		t.Fatalf("missing log gives %v, want kind not_found", err)
	}
	if err := s.Runtime.RemoveLogs(t.Context(), "never"); err != nil {
		t.Fatalf("remove missing log: %v", err)
	}
}

// unknownImage has a digest of nothing.
const unknownImage = "ikada.local/never/made@sha256:0000000000000000000000000000000000000000000000000000000000000000"

func testPullMissing(t *testing.T, s Subject) {
	if err := s.Runtime.Pull(t.Context(), unknownImage, nil); !api.IsKind(err, api.NotFound) {
		t.Fatalf("pull gives %v, want kind not_found", err)
	}
}

func testCreateUnknownImage(t *testing.T, s Subject) {
	err := s.Runtime.Create(t.Context(), agent.Container{ID: "lost", Image: unknownImage, Spec: api.ServiceSpec{Command: s.Sleep()}})
	if !api.IsKind(err, api.NotFound) {
		t.Fatalf("create gives %v, want kind not_found", err)
	}
	if l, err := s.Runtime.List(t.Context()); err != nil || len(l) != 0 {
		t.Fatalf("list gives %v, %v; want nothing left behind", l, err)
	}
}

func testExec(t *testing.T, s Subject) {
	Create(t, s, "exec", s.Sleep())
	var out, errs bytes.Buffer
	code, err := s.Runtime.Exec(t.Context(), "exec", agent.Exec{Args: s.Print("hello", "alas", s.Exit(5)), Stdout: &out, Stderr: &errs})
	if err != nil || code != 5 {
		t.Fatalf("exec gives %d, %v; want 5", code, err)
	}
	if out.String() != "hello\n" || errs.String() != "alas\n" {
		t.Fatalf("stdout %q, stderr %q", out.String(), errs.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Runtime.Exec(ctx, "exec", agent.Exec{Args: s.Sleep()}); err == nil {
		t.Fatalf("exec whose context ends gives no error")
	}
}

func testHold(t *testing.T, s Subject) {
	exits := s.Runtime.Exits(t.Context())
	CreateWith(t, s, agent.Container{ID: "hold", Image: s.Image, Hold: true, Spec: api.ServiceSpec{Entrypoint: s.Print("held", "back", s.Exit(6))}})
	if lines := ReadLog(t, s.Runtime, "hold", agent.LogQuery{Tail: -1}); len(lines) > 0 {
		t.Fatalf("what is held back has written %v", lines)
	}
	var out, errs bytes.Buffer
	code, err := s.Runtime.Exec(t.Context(), "hold", agent.Exec{Held: true, Stdout: &out, Stderr: &errs})
	if err != nil || code != 6 || out.String() != "held\n" || errs.String() != "back\n" {
		t.Fatalf("what was held back gives %d, %v, stdout %q, stderr %q", code, err, out.String(), errs.String())
	}
	if err := s.Runtime.Signal(t.Context(), "hold", "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, WaitExit(t, exits, "hold"), 0)
	CreateWith(t, s, agent.Container{ID: "none", Image: s.Image, Hold: true, Spec: api.ServiceSpec{Entrypoint: s.Sleep()}})
	done := make(chan error, 1)
	pr, pw := io.Pipe()
	go func() {
		_, err := s.Runtime.Exec(t.Context(), "none", agent.Exec{Held: true, Stdout: pw})
		_ = pw.CloseWithError(io.ErrUnexpectedEOF)
		done <- err
	}()
	if _, err := io.ReadFull(pr, make([]byte, len("up\n"))); err != nil { // the signal goes to what runs
		t.Fatalf("what was held back prints nothing: %v", err)
	}
	if err := s.Runtime.Signal(t.Context(), "none", "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, WaitExit(t, exits, "none"), 0)
	<-done
}

func testExecGone(t *testing.T, s Subject) {
	if _, err := s.Runtime.Exec(t.Context(), "never", agent.Exec{Args: s.Exit(0)}); !api.IsKind(err, api.NotFound) {
		t.Fatalf("exec gives %v, want kind not_found", err)
	}
}

func waitLine(t *testing.T, s Subject, id, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := s.Runtime.Logs(ctx, id, agent.LogQuery{Tail: -1, Follow: true})
	if err != nil {
		t.Fatalf("logs of %s: %v", id, err)
	}
	defer l.Close()
	for {
		rec, err := l.Next()
		if err != nil {
			t.Fatalf("line %q of %s: %v", text, id, err)
		}
		if rec.Text == text {
			return
		}
	}
}
