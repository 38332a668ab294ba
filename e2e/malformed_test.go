package e2e

import (
	"strings"
	"testing"
)

// Malformed Compose files get an error that names the place, and nothing of them is applied.
func TestMalformedCompose(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	for _, c := range []struct {
		name, file string
		says       []string
	}{
		{"not YAML", "services: [", []string{"compose.yaml"}},
		{"no services", "name: x\n", []string{"services"}},
		{"unknown key", "services:\n  web:\n    imagee: x\n", []string{"imagee"}},
		{"no image", "services:\n  web:\n    command: [x]\n", []string{"web", "image"}},
		{"port out of range", "services:\n  web:\n    image: x\n    ports: [\"99999:80\"]\n", []string{"web", "ports", "99999"}},
		{"replicas below zero", "services:\n  web:\n    image: x\n    deploy: {replicas: -1}\n", []string{"replicas", "-1"}},
		{"unknown dependency", "services:\n  web:\n    image: x\n    depends_on: [db]\n", []string{"web", "db"}},
		{"cycle", "services:\n  a:\n    image: x\n    depends_on: [b]\n  b:\n    image: x\n    depends_on: [a]\n", []string{"cycle", "a", "b"}},
		{"bad duration", "services:\n  web:\n    image: x\n    stop_grace_period: soon\n", []string{"stop_grace_period", "soon"}},
		{"bad memory", "services:\n  web:\n    image: x\n    mem_limit: lots\n", []string{"lots"}},
		{"missing env_file", "services:\n  web:\n    image: x\n    env_file: [absent.env]\n", []string{"absent.env"}},
		{"missing secret file", "services:\n  web:\n    image: x\n    secrets: [s]\nsecrets: {s: {file: absent.txt}}\n", []string{"absent.txt"}},
		{"undeclared secret", "services:\n  web:\n    image: x\n    secrets: [s]\n", []string{"web", "s"}},
		{"undeclared volume", "services:\n  web:\n    image: x\n    volumes: [\"v:/data\"]\n", []string{"web", "v"}},
		{"required variable", "services:\n  web:\n    image: ${NEEDED:?say which}\n", []string{"NEEDED", "say which"}},
		{"host network", "services:\n  web:\n    image: x\n    network_mode: host\n", []string{"network_mode", "host"}},
		{"unknown capability", "services:\n  web:\n    image: {registry}/app:v1\n    cap_add: [FLY]\n", []string{"cap_add", "FLY"}},
		{"unknown x-ikada", "services:\n  web:\n    image: x\n    x-ikada: {helth: {}}\n", []string{"x-ikada", "helth", "health"}},
		{"two checks", "services:\n  web:\n    image: x\n    x-ikada: {health: {http: /, tcp: 80}}\n", []string{"x-ikada.health", "exactly one"}},
		{"bad route", "services:\n  web:\n    image: x\n    x-ikada: {route: \"https://a.example\"}\n", []string{"route", "https://a.example"}},
		{"bad ratio", "services:\n  web:\n    image: x\n    x-ikada: {strategy: {max_failure_ratio: 7}}\n", []string{"max_failure_ratio", "7"}},
		{"bad reference", "services:\n  web:\n    image: \"UPPER CASE\"\n", []string{"web", "image", "UPPER CASE"}},
		{"missing build context", "services:\n  web:\n    build: ./absent\n", []string{"absent"}},
		{"bad name", "name: \"...\"\nservices:\n  web:\n    image: x\n", []string{"name", "..."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &App{Node: a.Node, t: t, Name: a.Name, Path: t.TempDir(), Port: a.Port}
			b.File("compose.yaml", c.file)
			args := []string{"deploy", "--project", b.Name}
			if c.name == "bad name" {
				args = args[:1]
			}
			r := b.Run(args...)
			if r.Code != exitError && r.Code != exitUsage {
				t.Fatalf("exit code %d, expected 1 or 2\n%s", r.Code, r)
			}
			for _, text := range c.says {
				if !strings.Contains(r.Stderr, text) {
					t.Errorf("the error does not name %q\n%s", text, r)
				}
			}
		})
	}
	a.Run("deploy", "/no/such/directory").Want(t, exitError, "/no/such/directory")
	a.In(t, t.TempDir(), "deploy").Want(t, exitError, "Compose file", "Dockerfile")
	a.Run("status", "--app", a.Name).Want(t, exitError, a.Name) // nothing was made of any
}

func TestUsage(t *testing.T) {
	t.Parallel()
	n := shared
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"nonsense"}, "nonsense"},
		{[]string{"deploy", "--nonsense"}, "--nonsense"},
		{[]string{"deploy", "a", "b"}, "0 to 1"},
		{[]string{"scale"}, "1 or more"},
		{[]string{"scale", "web"}, "SERVICE=N"},
		{[]string{"logs", "--tail", "few", "web"}, "few"},
		{[]string{"deploy", "--timeout", "soon"}, "soon"},
		{[]string{"up", "--subnet", "everything", "--data-dir", "/tmp/never-made"}, "everything"},
		{[]string{"token", "create"}, "NAME"},
	} {
		r := n.Run(t, c.args...)
		if r.Code != exitUsage && !(c.args[0] == "up" && r.Code == exitError) || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("expected exit code 2 and %q\n%s", c.says, r)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		n.Run(t, "completion", shell).Want(t, exitDone, "ikada")
	}
	n.Run(t, "--help").Want(t, exitDone, "deploy", "Exit codes")
}
