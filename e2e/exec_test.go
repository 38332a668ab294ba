package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
)

func TestExec(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	r := a.Run("exec", "web", "sh", "-c", "echo out; echo err >&2; exit 42")
	if r.Code != 42 || r.Stdout != "out\n" || r.Stderr != "err\n" {
		t.Errorf("exec ended with\n%s", r)
	}
	a.Run("exec", "web.2", "sh", "-c", "kill -9 $$").Want(t, 137)
	a.Run("exec", "web", "no-such-program").Want(t, 127, "no-such-program", "not found")
	if r := a.Run("exec", "-u", "worker", "-w", "/data", "--set", "WORD=x", "web", "sh", "-c", "id -un; pwd; echo $WORD"); r.Stdout != "worker\n/data\nx\n" {
		t.Errorf("exec ended with\n%s", r)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	in := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	cmd := a.Command(ctx, a.Path, "exec", "-i", "web", "cat")
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.Output(); err != nil || !bytes.Equal(in, out) {
		t.Errorf("cat of 1 MiB gave %d bytes, %v", len(out), err)
	}

	// A signal reaches the command, and its exit code comes back.
	cmd = a.Command(ctx, a.Path, "exec", "web", "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("after SIGTERM exec ended with %v, expected exit code 5", err)
	}
}

// screen keeps what a terminal shows.
type screen struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := func(args ...string) (console.Console, *screen, *exec.Cmd) {
		t.Helper()
		master, path, err := console.NewPty()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = master.Close() })
		if err := master.Resize(console.WinSize{Height: 40, Width: 132}); err != nil {
			t.Fatal(err)
		}
		slave, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := a.Command(ctx, a.Path, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = slave.Close()
		s := &screen{}
		go func() { _, _ = io.Copy(s, master) }()
		return master, s, cmd
	}
	shows := func(s *screen, text string) {
		t.Helper()
		Until(t, 20*time.Second, func() string {
			if strings.Contains(s.String(), text) {
				return ""
			}
			return "the terminal does not show " + text + " but:\n" + s.String()
		})
	}

	_, s, cmd := run("deploy")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("deploy on a terminal: %v\n%s", err, s)
	}
	shows(s, "2 of 2 ready")

	keys, s, cmd := run("exec", "-it", "web", "sh")
	press := func(text string) {
		t.Helper()
		if _, err := io.WriteString(keys, text); err != nil {
			t.Fatal(err)
		}
	}
	shows(s, "# ")
	press("tty; stty size; echo $((6*7))\n")
	shows(s, "40 132")
	shows(s, "42")
	if err := keys.Resize(console.WinSize{Height: 50, Width: 100}); err != nil {
		t.Fatal(err)
	}
	Until(t, 10*time.Second, func() string {
		press("stty size\n")
		if strings.Contains(s.String(), "50 100") {
			return ""
		}
		return "the new size does not arrive"
	})
	press("sh -c 'echo $((50+5)) asleep; exec sleep 1000'\n")
	shows(s, "55 asleep") // of the command, not of what was typed
	press("\x03")         // Ctrl-C ends the command inside, not exec
	press("echo still $((40+4))\n")
	shows(s, "still 44")
	press("exit 9\n")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 9 {
		t.Errorf("exec -it ended with %v, expected exit code 9\n%s", err, s)
	}

	keys, s, cmd = run("run", "-it", "-e", "WORD=hello", "web", "--", "sh")
	shows(s, "# ")
	press("tty; stty size; echo $WORD $((6*8))\n")
	shows(s, "/dev/pts/")
	shows(s, "40 132")
	shows(s, "hello 48")
	press("sh -c 'echo $((50+5)) asleep; exec sleep 1000'\n")
	shows(s, "55 asleep") // of the command, not of what was typed
	press("\x03")
	press("exit 6\n")
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 6 {
		t.Errorf("run -it ended with %v, expected exit code 6\n%s", err, s)
	}
}
