package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/ikada/ikada/api"
)

// outside is a caller from another machine: over TLS, with a token.
type outside struct {
	*Node
	t           *testing.T
	port        int
	token       string
	fingerprint string
	dir         string
}

// newOutside starts a node that listens on every address, and gives a caller with a token.
func newOutside(t *testing.T, grants ...string) *outside {
	t.Helper()
	o := &outside{t: t, port: nextPort(), dir: t.TempDir()}
	o.Node = NewNode(t, "--listen", fmt.Sprintf("0.0.0.0:%d", o.port))
	o.Node.Run(t, "token", "create", "root").Want(t, exitError, "root")
	o.token = strings.TrimSpace(o.Node.Run(t, append([]string{"token", "create", "ci"}, grants...)...).Want(t, exitDone).Stdout)
	m := regexp.MustCompile(`fingerprint (sha256:[0-9a-f]{64})`).FindStringSubmatch(o.Log())
	if m == nil {
		t.Fatalf("no fingerprint is printed:\n%s", o.Log())
	}
	o.fingerprint = m[1]
	return o
}

func (o *outside) host() string { return fmt.Sprintf("127.0.0.1:%d", o.port) }

// run runs a command as the caller.
func (o *outside) run(args ...string) Result {
	o.t.Helper()
	return o.runWith([]string{"IKADA_FINGERPRINT=" + o.fingerprint}, args...)
}

func (o *outside) runWith(env []string, args ...string) Result {
	o.t.Helper()
	cmd := o.Command(o.t.Context(), o.dir, args...)
	cmd.Env = append(append(cmd.Env, "IKADA_HOST=https://"+o.host(), "IKADA_TOKEN="+o.token), env...)
	return finish(o.t, cmd)
}

// push pushes the fault server's image, which trusts the certificate that the node keeps for its clients.
func (o *outside) push(repo string) error {
	o.t.Helper()
	ca, err := os.ReadFile(filepath.Join(o.Dir, "tls", "api.crt"))
	if err != nil {
		o.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	tag, err := name.NewTag(o.host() + "/" + repo)
	if err != nil {
		o.t.Fatal(err)
	}
	return remote.Write(tag, faultImage(o.t), remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}),
		remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "token", Password: o.token})))
}

// compose writes the app of the test, in a version.
func (o *outside) compose(version string) {
	o.t.Helper()
	text := fmt.Sprintf("name: rights\nservices:\n  web:\n    image: %s/rights/web:1\n    environment: {VERSION: %q}\n"+
		"    x-ikada: {health: {http: {path: /healthz, port: 8080}, interval: 1s}, strategy: {monitor: 250ms}}\n", o.host(), version)
	if err := os.WriteFile(filepath.Join(o.dir, "compose.yaml"), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// listener is a web hook's other end.
type listener struct {
	*httptest.Server
	mu     sync.Mutex
	secret string
	broken bool
	bad    int // messages whose signature is wrong
	got    []api.HookMessage
}

func newListener(t *testing.T) *listener {
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.broken {
			http.Error(w, "broken", http.StatusServiceUnavailable)
			return
		}
		at, sum, _ := strings.Cut(r.Header.Get("Ikada-Signature"), ",v1=")
		m := hmac.New(sha256.New, []byte(l.secret))
		m.Write([]byte(strings.TrimPrefix(at, "t=") + "." + string(body)))
		var message api.HookMessage
		if json.Unmarshal(body, &message) != nil || hex.EncodeToString(m.Sum(nil)) != sum {
			l.bad++
		}
		l.got = append(l.got, message)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) set(secret string, broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secret, l.broken = secret, broken
}

// heard gives what was taken, as "on deployment", each once.
func (l *listener) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, m := range l.got {
		text := m.On
		if d := m.Deployment; d != nil {
			text += fmt.Sprintf(" %d by %s", d.Number, d.By)
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// TestRightsFromOutside is a pipeline's token on its way: over TLS, to its environment and no further, told to a web hook
// and written to the audit log, both of which outlive a kill of the node.
func TestRightsFromOutside(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "--user", "pipeline", "--role", "deploy", "--scope", "rights/staging", "--expires", "90d")
	// Nothing goes in the clear, and an unknown certificate is not believed.
	o.runWith([]string{"IKADA_HOST=http://" + o.host()}, "whoami").Want(t, exitError, "https://")
	o.runWith(nil, "whoami").Want(t, exitError, "remedy", o.fingerprint)
	o.runWith([]string{"IKADA_FINGERPRINT=sha256:" + strings.Repeat("0", 64)}, "whoami").Want(t, exitError, "another certificate", o.fingerprint)
	o.runWith([]string{"IKADA_CA_FILE=" + filepath.Join(o.Dir, "tls", "api.crt")}, "whoami").Want(t, exitDone, "pipeline, by the token ci", "deploy on rights/staging")
	o.Node.Run(t, "whoami").Want(t, exitDone, "root", "admin on *")

	l := newListener(t)
	l.set(strings.TrimSpace(o.Node.Run(t, "hook", "add", "here", l.URL+"/s3cret-path").Want(t, exitDone).Stdout), false)
	o.Node.Run(t, "hook", "test", "here").Want(t, exitDone, "took the test")

	if err := o.push("rights/web:1"); err != nil {
		t.Fatalf("push: %v", err)
	}
	if err := o.push("other/web:1"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("push to another app: %v", err)
	}
	o.compose("v1")
	o.run("deploy", "-e", "staging").Want(t, exitDone)
	o.run("deploy", "-e", "production").Want(t, exitError, "this needs the role deploy on rights/production; token ci has deploy on rights/staging", "ikada whoami")
	o.run("exec", "-e", "staging", "web", "--", "/server").Want(t, exitError, "role admin on rights/staging")
	o.run("destroy", "-y", "-e", "staging").Want(t, exitError, "role admin")
	o.run("audit").Want(t, exitError, "role admin on *")
	o.run("hook", "ls").Want(t, exitError, "role admin on *")
	o.run("token", "ls").Want(t, exitError, "role admin on *")
	// Root deploys elsewhere, and the pipeline does not see it.
	o.Node.In(t, o.dir, "deploy", "-e", "production").Want(t, exitDone)
	if out := o.run("status", "--all").Want(t, exitDone, "staging").Stdout; strings.Contains(out, "production") {
		t.Errorf("the pipeline sees production:\n%s", out)
	}
	if out := o.run("events", "--all").Want(t, exitDone, "rights/staging").Stdout; strings.Contains(out, "production") || strings.Contains(out, "token") {
		t.Errorf("the pipeline is told of more than staging:\n%s", out)
	}

	// The hook takes nothing for a while, in which ikada is killed.
	l.set(l.secret, true)
	o.compose("v2")
	o.run("deploy", "-e", "staging").Want(t, exitDone)
	Until(t, 20*time.Second, func() string {
		if out := o.Node.Run(t, "hook", "ls").Stdout; !strings.Contains(out, "it answered 503") {
			return out
		}
		return ""
	})
	o.Kill(t)
	l.set(l.secret, false)
	o.Start(t)
	want := []string{"test", "start 1 by pipeline", "success 1 by pipeline", "start 1 by root", "success 1 by root", "start 2 by pipeline", "success 2 by pipeline"}
	Until(t, 60*time.Second, func() string {
		if got := l.heard(); !slices.Equal(got, want) {
			return fmt.Sprintf("the hook heard %q, expected %q", got, want)
		}
		return ""
	})
	if l.bad > 0 {
		t.Errorf("%d messages are not signed well", l.bad)
	}
	o.run("whoami").Want(t, exitDone, "pipeline") // by the same fingerprint

	var records []string
	for line := range strings.Lines(o.Node.Run(t, "audit", "--json", "-n", "0").Want(t, exitDone).Stdout) {
		var r api.AuditRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Remote, map[bool]string{true: "uid 0, process ", false: "127.0.0.1"}[r.Token == ""]) {
			t.Errorf("%+v", r)
		}
		records = append(records, r.User+" "+r.Operation+" "+r.Object+" "+r.Result)
	}
	for _, want := range []string{"root create-token ci ok", "root create-hook here ok", "pipeline push rights/web:1 ok", "pipeline deploy rights/staging ok",
		"pipeline deploy rights/production forbidden", "pipeline destroy-environment rights/staging forbidden", "root deploy rights/production ok"} {
		if !slices.Contains(records, want) {
			t.Errorf("no record %q among:\n%s", want, strings.Join(records, "\n"))
		}
	}
	// A rotation lets the old secret in for a while; without the token nobody gets in.
	fresh := strings.TrimSpace(o.run("token", "rotate", "ci").Want(t, exitDone).Stdout)
	o.run("whoami").Want(t, exitDone, "was rotated")
	old := o.token
	o.token = fresh
	o.run("token", "rotate", "ci", "--grace", "0s").Want(t, exitDone)
	o.run("whoami").Want(t, exitError, "unknown, removed or expired")
	o.Stop(t)
	scan(t, o.Dir, old, fresh, "s3cret-path", l.secret)
}
