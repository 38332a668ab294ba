package cli

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// prompted calls a function once what is written ends as a prompt does.
type prompted struct {
	bytes.Buffer
	then func()
}

func (p *prompted) Write(b []byte) (int, error) {
	n, err := p.Buffer.Write(b)
	if strings.HasSuffix(p.String(), ": ") {
		p.then()
	}
	return n, err
}

// keyboard gives both ends of a terminal.
func keyboard(t *testing.T) (console.Console, *os.File) {
	t.Helper()
	master, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	end, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end.Close() })
	return master, end
}

func shows(t *testing.T, f *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// TestPrompts holds that a question on a terminal takes its answer, that no password is shown, and that Ctrl-C ends the
// program at once with the terminal as it was.
func TestPrompts(t *testing.T) {
	for _, c := range []struct {
		line     string
		prompt   string
		hidden   bool
		answer   string
		code     int
		said     string
		requests string
	}{
		{line: "destroy", prompt: "Type shop/production to go on: ", answer: "shop/staging\n", code: ExitError, said: `"shop/staging" is not shop/production`},
		{line: "registry login ghcr.io -u acme", prompt: "Password: ", hidden: true, answer: "hush\n", requests: `{"username":"acme","password":"hush"}`},
		{line: "secret set db-url --detach", prompt: "Value of db-url: ", hidden: true, answer: "hush\n", requests: `{"value":"aHVzaA=="}`},
		{line: "destroy", prompt: "Type shop/production to go on: ", code: ExitError, said: "interrupted"},
		{line: "reset", prompt: "Type reset to go on: ", code: ExitError, said: "interrupted"},
		{line: "secret set db-url", prompt: "Value of db-url: ", hidden: true, code: ExitError, said: "interrupted"},
	} {
		t.Run(c.line+" "+c.said, func(t *testing.T) {
			f := populated(t)
			master, stdin := keyboard(t)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var out bytes.Buffer
			errs := &prompted{}
			errs.then = func() {
				if shows(t, stdin) == c.hidden {
					t.Errorf("what is typed is hidden: %v, wanted %v", !c.hidden, c.hidden)
				}
				if c.answer == "" {
					interrupt()
				} else if _, err := master.Write([]byte(c.answer)); err != nil {
					t.Error(err)
				}
			}
			code := Run(ctx, strings.Fields(c.line), Options{Stdin: stdin, Stdout: &out, Stderr: errs, Dir: t.TempDir(),
				Environ: map[string]string{"IKADA_HOST": f.url, "IKADA_APP": "shop", "IKADA_DATA_DIR": t.TempDir()}, Now: func() time.Time { return noon },
				Daemon: Daemon{Reset: func(context.Context, string) error { t.Error("reset"); return nil }}})
			seen := strings.Join(f.requests(), "\n")
			if code != c.code || !strings.Contains(errs.String(), c.prompt) || !strings.Contains(errs.String(), c.said) || !strings.Contains(seen, c.requests) {
				t.Errorf("exit %d\n%s%s\n%s", code, errs.String(), out.String(), seen)
			}
			if strings.Contains(seen, "DELETE") {
				t.Errorf("asked for %s", seen)
			}
			if !shows(t, stdin) {
				t.Error("the terminal goes on hiding what is typed")
			}
		})
	}
}
