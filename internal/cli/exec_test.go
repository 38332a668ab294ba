package cli

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// TestExec runs a command in the best task of a service: what goes in comes out, and the exit code is the command's.
func TestExec(t *testing.T) {
	f := populated(t)
	f.mux.HandleFunc("GET "+client.Prefix+"/tasks/aaaa1111bbbb2222/exec", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.CloseNow() }()
		_, first, err := conn.Read(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		var request api.ExecRequest
		if err := json.Unmarshal(first, &request); err != nil || strings.Join(request.Command, " ") != "cat -n file" || request.User != "app" || strings.Join(request.Env, " ") != "A=b C=d" {
			t.Errorf("asked for %+v, %v", request, err)
		}
		var input strings.Builder
		for {
			_, frame, err := conn.Read(r.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if api.ExecFrame(frame[0]) == api.FrameStdin && len(frame) == 1 {
				break
			}
			input.Write(frame[1:])
		}
		for _, frame := range [][]byte{
			append([]byte{byte(api.FrameStdout)}, "out:"+input.String()...),
			append([]byte{byte(api.FrameStderr)}, "err"...),
			append([]byte{byte(api.FrameExit)}, `{"code":42}`...),
		} {
			if err := conn.Write(r.Context(), websocket.MessageBinary, frame); err != nil && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
	})
	r := f.ikada(t.Context(), "", "input", "exec", "-i", "-a", "shop", "-u", "app", "--set", "A=b", "-e", "C=d", "web", "cat", "-n", "file")
	if r.code != 42 || r.out != "out:input" || r.err != "err" {
		t.Errorf("exit %d, stdout %q, stderr %q", r.code, r.out, r.err)
	}
}

// TestNotStarted holds the exit codes of commands that never ran to those of a shell.
func TestNotStarted(t *testing.T) {
	for text, want := range map[string]int{
		`run command in container a1: start process: exec: "nope": executable file not found in $PATH`:        127,
		`job a1 failed: start container: start process: exec: "/nope": stat /nope: no such file or directory`: 127,
		`run command in container a1: start process: exec: "/etc/passwd": permission denied`:                  126,
		`open /nope: no such file or directory`:                                                               ExitError,
	} {
		code := ExitError
		if e, ok := errors.AsType[*exitError](notStarted(errors.New(text))); ok {
			code = e.code
		}
		if code != want {
			t.Errorf("%s: %d, expected %d", text, code, want)
		}
	}
}
