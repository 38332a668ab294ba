package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestEnvironments goes the way of a release: a copy of production, a change there, promotion, and back with the secrets
// that the old release had. At the end no secret stands anywhere in the clear.
func TestEnvironments(t *testing.T) {
	t.Parallel()
	n := NewNode(t)
	if err := n.pushImages(); err != nil {
		t.Fatal(err)
	}
	a := n.App(t)
	staging := &App{Node: n, t: t, Name: a.Name, Path: a.Path, Port: nextPort()} // the same app at another port
	secrets := []string{"hunter-file-one", "hunter-prod-one", "hunter-prod-two", "hunter-staging"}
	set := func(name, value string, more ...string) Result {
		t.Helper()
		a.File("value", value)
		return a.Run(append([]string{"secret", "set", name, "--from-file", "value"}, more...)...)
	}
	compose := func(version string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    environment: {LEVEL: file}
    secrets: [key]
    deploy: {replicas: 2}
    x-ikada:
      strategy: {monitor: 300ms}
      health: {command: 'test -n "$$DATABASE_URL"'}
      secrets: {DATABASE_URL: db-url}
secrets:
  key: {file: key}
x-ikada:
  environments:
    staging:
      services:
        web:
          environment: {LEVEL: staging}
          ports: !override ["` + strconv.Itoa(staging.Port) + `:8080"]
          deploy: {replicas: 1}
`)
	}
	a.File("key", "hunter-file-one")
	compose("v1")
	a.Run("deploy").Want(t, exitError, "lacks the secret db-url", "ikada secret set db-url")
	set("db-url", "hunter-prod-one").Want(t, exitDone, "nothing that runs there uses it")
	a.Deploy()
	ask := func(b *App, what string) string { return b.Get("/env?name=" + what) }
	if got := ask(a, "DATABASE_URL"); got != "hunter-prod-one" {
		t.Fatalf("the variable is %q", got)
	}
	if got := a.Shell("web", "echo $DATABASE_URL; cat /run/secrets/key"); got != "hunter-prod-one\nhunter-file-one" {
		t.Errorf("a command in the task has %q", got)
	}

	// A copy under another port, with a secret of its own; the port that it would share is named.
	a.Run("env", "create", "staging", "--from", "production").Want(t, exitError, fmt.Sprintf("port %d of service web is taken", a.Port), "--port")
	a.File("value", "hunter-staging")
	a.Run("env", "create", "staging", "--from", "production", "--port", fmt.Sprintf("%d=%d", a.Port, staging.Port), "--scale", "web=1",
		"--secret", "db-url=value", "--ttl", "3d").Want(t, exitDone, "succeeded")
	if url, level := ask(staging, "DATABASE_URL"), ask(staging, "LEVEL"); url != "hunter-staging" || level != "file" {
		t.Errorf("the copy has %q and %q", url, level)
	}
	if got := staging.Get("/read?path=/run/secrets/key"); got != "hunter-file-one" {
		t.Errorf("the copied secret is %q", got)
	}
	a.Run("env", "ls").Want(t, exitDone, "staging", "in 3d")

	// A new version in staging, with what the file says of it, goes to production as it is.
	compose("v2")
	a.Run("deploy", "-e", "staging", "-m", "second").Want(t, exitDone)
	if version, level := staging.Get("/"), ask(staging, "LEVEL"); version != "v2" || level != "staging" {
		t.Errorf("staging answers %q at %q", version, level)
	}
	a.Run("diff", "staging", "production").Want(t, exitDone, "services.web.env.LEVEL: staging → file", "services.web.image: ", "replicas: 1 → 2")
	a.Run("promote", "--from", "staging", "--to", "production", "--dry-run").Want(t, exitDone, "services.web.image: ")
	load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
	a.Run("promote", "--from", "staging", "--to", "production").Want(t, exitDone, "services.web.image: ", "succeeded")
	load.StopClean(t, 20)
	if version, level, url := a.Get("/"), ask(a, "LEVEL"), ask(a, "DATABASE_URL"); version != "v2" || level != "file" || url != "hunter-prod-one" {
		t.Errorf("production answers %q at %q with %q", version, level, url)
	}
	var releases []api.Release
	a.Run("releases", "--json").Want(t, exitDone).JSON(t, &releases)
	if r := releases[0]; r.From == nil || *r.From != (api.Origin{Env: "staging", Release: 2}) {
		t.Errorf("release %d from %v", r.Number, r.From)
	}
	if s := a.Status().Services[0]; s.Want != 2 || s.Ready != 2 {
		t.Errorf("production has %d of %d tasks", s.Ready, s.Want)
	}

	// Settings make releases; a rollback brings back what the old one ran with.
	set("db-url", "hunter-prod-two").Want(t, exitDone, "succeeded")
	a.Run("config", "set", "LEVEL=set").Want(t, exitDone, "succeeded")
	if level, url := ask(a, "LEVEL"), ask(a, "DATABASE_URL"); level != "set" || url != "hunter-prod-two" {
		t.Errorf("after the settings: %q, %q", level, url)
	}
	a.Run("rollback", "1").Want(t, exitDone, "have changed since")
	if version, level, url := a.Get("/"), ask(a, "LEVEL"), ask(a, "DATABASE_URL"); version != "v1" || level != "file" || url != "hunter-prod-one" {
		t.Errorf("after the rollback: %q, %q, %q", version, level, url)
	}
	if r := a.Run("secret", "reveal", "db-url").Want(t, exitDone); r.Stdout != "hunter-prod-two" {
		t.Errorf("revealed %q", r.Stdout)
	}

	// A new key, and a node that is killed while it takes the old one's place.
	a.Run("secret", "rotate-key", "--json").Want(t, exitDone, `"secrets"`)
	if err := os.Link(filepath.Join(n.Dir, "secret.key"), filepath.Join(n.Dir, "secret.key.old")); err != nil {
		t.Fatal(err)
	}
	n.Kill(t)
	n.Start(t)
	Until(t, 20*time.Second, func() string {
		if _, err := os.Stat(filepath.Join(n.Dir, "secret.key.old")); !os.IsNotExist(err) {
			return "the rotation that was cut off goes on"
		}
		return ""
	})
	a.Run("deploy").Want(t, exitDone)
	if got := ask(a, "DATABASE_URL"); got != "hunter-prod-two" {
		t.Errorf("with the new key: %q", got)
	}

	// An environment that goes by itself.
	a.Run("env", "ttl", "staging", "4s").Want(t, exitDone)
	Until(t, 30*time.Second, func() string {
		if _, err := a.Client(t).Environment(t.Context(), api.EnvRef{App: a.Name, Env: "staging"}); !api.IsKind(err, api.NotFound) {
			return "staging is gone"
		}
		return ""
	})
	a.Run("events", "--all").Want(t, exitDone, "is destroyed with its volumes in", "its time of 4s is over", "was shown to root")
	nowhere(t, a, secrets...)
}

// nowhere fails the test where a secret stands in the clear: on the node's disk, in its log, in what the API answers.
func nowhere(t *testing.T, a *App, secrets ...string) {
	t.Helper()
	for _, s := range slices.Clone(secrets) { // as it stands in JSON, too
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(s))[:len(s)])
	}
	for _, dir := range []string{a.Dir, a.Dir + ".log", "/run/ikada-" + instance(a.Dir)} {
		scan(t, dir, secrets...)
	}
	for _, args := range [][]string{
		{"status", "--json"}, {"ps", "--all", "--json"}, {"releases", "--json"}, {"deployments", "--json"}, {"receipt", "--json"}, {"events", "--all", "--json"},
		{"logs", "--json"}, {"secret", "ls", "--json"}, {"config", "ls", "--json"}, {"diff", "1", "--json"}, {"audit", "--json"}, {"failures", "--json"},
	} {
		out := a.Run(args...).Want(t, exitDone).Stdout
		for _, s := range secrets {
			if strings.Contains(out, s) {
				t.Errorf("ikada %s prints %q", strings.Join(args, " "), s)
			}
		}
	}
}
