package process

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script makes a supervisor of a shell script, which counts as answering once the file "up" is there.
func script(t *testing.T, text string) (s *Supervisor, dir string) {
	t.Helper()
	dir = t.TempDir()
	s = NewSupervisor(Config{
		Name: "program", Command: []string{"/bin/sh", filepath.Join(dir, "program")},
		PIDPath: filepath.Join(dir, "pid"), LogPath: filepath.Join(dir, "log"), Log: slog.New(slog.DiscardHandler),
		Prepare: func() error {
			if err := os.Remove(filepath.Join(dir, "up")); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return nil
		},
		Ready: func(context.Context) error {
			_, err := os.Stat(filepath.Join(dir, "up"))
			return err
		},
	})
	rewrite(t, dir, text)
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

func rewrite(t *testing.T, dir, text string) {
	t.Helper()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path+".new", []byte("cd "+dir+"\n"+text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A program that does not start says why in its log; whoever starts it hears it from there.
func TestWordsOfAProgramThatDoesNotStart(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an error": {"echo begin; echo 'the database is damaged' >&2; exit 1", `"the database is damaged"`},
		"a panic": {"echo begin; echo 'panic: page 3 is invalid'; echo; echo 'goroutine 1 [running]:'; echo 'main.main()'; exit 2",
			`"panic: page 3 is invalid"`},
		"nothing": {"exit 3", "it ended at once; its log is"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := script(t, c.text)
			if err := os.WriteFile(filepath.Join(dir, "log"), []byte("panic: of an earlier time\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := s.Start(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Join(dir, "log")) ||
				strings.Contains(err.Error(), "earlier") {
				t.Errorf("start: %v, want %s", err, c.want)
			}
		})
	}
}

// What Run cannot start again is a problem until it can.
func TestProblemOfAProgramThatIsDown(t *testing.T) {
	const good = "touch up; exec sleep 1000"
	s, dir := script(t, good)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until := func(what string, ok func(problem string) bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !ok(s.Problem()); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("problem %q, want %s", s.Problem(), what)
			}
		}
	}
	if p := s.Problem(); p != "" {
		t.Errorf("problem of a program that runs: %s", p)
	}
	rewrite(t, dir, "echo 'no space left'; exit 1")
	if err := s.Current().Signal(9); err != nil {
		t.Fatal(err)
	}
	until("why it is down", func(p string) bool {
		return strings.HasPrefix(p, "program is down: ") && strings.Contains(p, "no space left")
	})
	rewrite(t, dir, good)
	until("none", func(p string) bool { return p == "" })
}
