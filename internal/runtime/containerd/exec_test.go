package containerd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

func TestExec(t *testing.T) {
	in := newInstance(t, nil)
	spec := command(in.subject().Sleep())
	spec.Env = map[string]string{"OWN": "yes"}
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "c", Image: in.image, Spec: spec})

	var out bytes.Buffer
	code, err := in.runtime.Exec(t.Context(), "c", agent.Exec{
		Args: []string{"sh", "-c", "id; pwd; env; cat"}, User: "web", Dir: "/data", Env: []string{"MORE=1"},
		Stdin: strings.NewReader("through stdin"), Stdout: &out,
	})
	if err != nil || code != 0 {
		t.Fatalf("exec gives %d, %v", code, err)
	}
	contains(t, out.String(), "uid=1000(web) gid=1001(web)", "/data\n", "OWN=yes", "MORE=1", "through stdin")

	if _, err := in.runtime.Exec(t.Context(), "c", agent.Exec{Args: []string{"/no/such"}}); !api.IsKind(err, api.Invalid) {
		t.Errorf("missing program gives %v, want kind invalid", err)
	}
	out.Reset()
	if code, err := in.runtime.Exec(t.Context(), "c", agent.Exec{Args: []string{"grep", "-E", "^(Seccomp|NoNewPrivs|CapEff):", "/proc/self/status"}, Stdout: &out}); err != nil || code != 0 {
		t.Fatalf("exec gives %d, %v", code, err)
	}
	contains(t, out.String(), "Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t00000000a80425fb")

	// Much output, all of it there.
	out.Reset()
	if code, err := in.runtime.Exec(t.Context(), "c", agent.Exec{Args: []string{"sh", "-c", "yes | head -c 3000000"}, Stdout: &out}); err != nil || code != 0 || out.Len() != 3000000 {
		t.Errorf("exec gives %d, %v and %d bytes", code, err, out.Len())
	}
}

// late is a reader's side that takes long over the first bytes.
type late struct {
	bytes.Buffer
	waited bool
}

func (l *late) Write(b []byte) (int, error) {
	if !l.waited {
		l.waited = true
		time.Sleep(2 * restQuiet)
	}
	return l.Buffer.Write(b)
}

// What a command wrote before it ended arrives whole, however slow its reader is.
func TestExecRestOfOutput(t *testing.T) {
	in := newInstance(t, nil)
	runtimetest.Create(t, in.subject(), "c", in.subject().Sleep())
	const size = 100_000 // fits into pipes
	var slow late
	code, err := in.runtime.Exec(t.Context(), "c", agent.Exec{Args: []string{"sh", "-c", fmt.Sprint("head -c ", size, " /dev/zero; exit 3")}, Stdout: &slow})
	if err != nil || code != 3 || slow.Len() != size {
		t.Errorf("exec gives %d, %v and %d bytes", code, err, slow.Len())
	}
}

func TestExecTerminal(t *testing.T) {
	in := newInstance(t, nil)
	runtimetest.Create(t, in.subject(), "c", in.subject().Sleep())
	pr, pw := io.Pipe()
	resize, signals := make(chan agent.Winsize), make(chan string)
	type result struct {
		code int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		code, err := in.runtime.Exec(t.Context(), "c", agent.Exec{
			Args: []string{"sh", "-c", "trap 'stty size; exit 7' USR1; test -t 0 && echo terminal; while :; do sleep 0.05; done"},
			TTY:  true, Stdout: pw, Resize: resize, Signals: signals,
		})
		pw.Close()
		done <- result{code, err}
	}()
	lines := bufio.NewScanner(pr)
	if !lines.Scan() || lines.Text() != "terminal" {
		t.Fatalf("first line is %q", lines.Text())
	}
	resize <- agent.Winsize{Rows: 33, Cols: 111}
	signals <- "USR1"
	if !lines.Scan() || lines.Text() != "33 111" {
		t.Errorf("size is %q", lines.Text())
	}
	if r := <-done; r.err != nil || r.code != 7 {
		t.Errorf("exec gives %d, %v; want 7", r.code, r.err)
	}
}

func TestTerminalAndStdin(t *testing.T) {
	in := newInstance(t, nil)
	spec := command([]string{"sh", "-c", "test -t 1 && echo terminal; exit 0"})
	spec.TTY = true
	contains(t, in.output(t, "tty", spec), "terminal")

	open := command([]string{"sh", "-c", "echo up; cat; echo ended"})
	open.StdinOpen = true
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "open", Image: in.image, Spec: open})
	waitFor(t, in, "open", "up")
	states, err := in.runtime.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.ID == "open" && !s.Running {
			t.Error("a container whose standard input is open has ended")
		}
	}
}

func TestLogRotation(t *testing.T) {
	in := newInstance(t, nil)
	exits := in.runtime.Exits(t.Context())
	runtimetest.CreateWith(t, in.subject(), agent.Container{
		ID: "rotates", Image: in.image, LogSize: 64 << 10, LogKeep: 2,
		Spec: command([]string{"sh", "-c", "i=0; while [ $i -lt 6000 ]; do echo line $i; i=$((i+1)); done"}),
	})
	runtimetest.WaitExit(t, exits, "rotates")
	all := runtimetest.ReadLog(t, in.runtime, "rotates", agent.LogQuery{Tail: -1})
	if len(all) < 1000 || len(all) >= 6000 {
		t.Fatalf("%d lines kept", len(all))
	}
	for i, rec := range all {
		if want := fmt.Sprint("line ", 6000-len(all)+i); rec.Text != want {
			t.Fatalf("line %d is %q, want %q", i, rec.Text, want)
		}
	}
	quiet := command([]string{"echo", "unheard"})
	quiet.Logging.Disabled = true
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "quiet", Image: in.image, Spec: quiet})
	if e := runtimetest.WaitExit(t, exits, "quiet"); e.Code == nil || *e.Code != 0 {
		t.Errorf("exit is %+v", e)
	}
}
