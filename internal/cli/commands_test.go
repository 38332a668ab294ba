package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // transcripts hold local times
	os.Exit(m.Run())
}

// TestReadingCommands runs every command that reads, for people and as JSON, and keeps the transcript.
func TestReadingCommands(t *testing.T) {
	f := populated(t)
	dir := directory(t, "elsewhere", nil)
	var transcript strings.Builder
	for _, line := range []string{
		"status", "status --all", "status -a shop", "ps -a shop", "ps -a shop --all worker", "ps -a shop web.2", "releases -a shop",
		"deployments -a shop", "receipt -a shop", "receipt 6 -a shop", "receipt 9 -a shop", "receipt x -a shop",
		"events --all", "events -a shop -n 5", "logs -a shop", "logs -a shop -t --since 10m --tail 3 web", "logs -a shop web.2", "logs -a shop nope.1",
		"top -a shop", "top shop --once --since 10s", "failures -a shop", "top nope", "failures -a nope",
		"diff -a shop 4 staging@2", "diff 4 -a shop --json", "diff -a shop 5 5", "diff a@b c", "env ls", "env ls -a blog", "env ls -a nope", "secret ls -a shop", "config ls -a shop", "secret reveal db-url -a shop",
		"nodes", "token ls", "whoami", "hook ls", "hook ls --json", "audit", "audit --json --since 24h -n 2", "audit --since never", "audit -n -1", "registry ls", "version", "--version", "check", "ps", "ps -a nope",
		"status --json -a shop", "ps --json -a shop worker", "logs --json -a shop", "events --json --all", "top shop --json", "failures -a shop -n 5 --json", "nodes --json", "receipt 6 --json -a shop",
		"version --json", "check --json",
	} {
		args := strings.Fields(line)
		record(&transcript, args, f.ikada(t.Context(), dir, "", args...))
	}
	golden(t, "testdata/reading.golden", transcript.String())
}

// TestWritingCommands runs the commands that change something and keeps what they asked of the server.
func TestWritingCommands(t *testing.T) {
	f := populated(t)
	dir := directory(t, "elsewhere", nil)
	var transcript strings.Builder
	for _, c := range []struct{ line, stdin string }{
		{line: "scale -a shop web=5 worker=0"},
		{line: "scale -a shop web=auto"},
		{line: "scale -a shop web"},
		{line: "scale -a shop web=-1"},
		{line: "scale -a shop web=1001"},
		{line: "down -a shop"},
		{line: "start -a shop"},
		{line: "cancel -a shop"},
		{line: "lock shop/production --for 2h --why migration"},
		{line: "lock production -a shop --json"},
		{line: "unlock -a shop --force"},
		{line: "token create ci"},
		{line: "token create ci --expires 1h --json"},
		{line: "token create ci --user ann --role deploy --scope shop/staging --scope shop/pr-* --grant view:shop/* --expires 90d"},
		{line: "token create ci --scope shop/staging"},
		{line: "token create ci --role king"},
		{line: "token create ci --role view --scope shop"},
		{line: "token create ci --grant view"},
		{line: "token create ci --expires soon"},
		{line: "token create ci --expires 0d"},
		{line: "lock production -a shop --for 0"},
		{line: "lock production -a shop --for 40d"},
		{line: "unlock -a shop -e prodution"},
		{line: "run -a shop --timeout 5x web -- true"},
		{line: "audit -n x"},
		{line: "token rotate ci"},
		{line: "token rotate ci --grace 0s --expires 30d --json"},
		{line: "hook add chat https://hooks.slack.com/services/T0/x --format slack --on failure,rollback --scope shop/*"},
		{line: "hook add chat ftp://x"},
		{line: "hook add chat https://x --on sunrise"},
		{line: "hook add chat https://x --format xml"},
		{line: "hook test chat"},
		{line: "hook test ci --json"},
		{line: "hook rm chat"},
		{line: "token create"},
		{line: "token rm ci"},
		{line: "registry login ghcr.io -u acme --password-stdin", stdin: "hunter2\nrest"},
		{line: "registry login ghcr.io -u acme --password-stdin"},
		{line: "registry login ghcr.io -u acme", stdin: "hunter2"},
		{line: "registry login ghcr.io"},
		{line: "registry logout ghcr.io"},
		{line: "prune --dry-run"},
		{line: "prune --all --json"},
		{line: "destroy -a shop"},
		{line: "reset"},
		{line: "up"},
		{line: "exec -a shop web"},
		{line: "exec -t -a shop web sh"},
		{line: "exec -a shop nope sh"},
		{line: "rollback zero -a shop"},
		{line: "env create staging -a shop --from production --route a.test=b.test --port 8080=18080 --port 81=none --scale web=1 --secret db=- --ttl 1d12h -d", stdin: "hunter2"},
		{line: "env create empty -a shop"},
		{line: "env create staging -a shop --port 8080=x"},
		{line: "env create staging -a shop --route a.test"},
		{line: "env create staging -a shop --secret hunter2"},
		{line: "env create staging -a shop --ttl soon"},
		{line: "env ttl staging 3d -a shop"},
		{line: "env ttl shop/staging never"},
		{line: "env ttl staging 0 -a shop"},
		{line: "env rm staging -a shop"},
		{line: "promote shop --from staging --dry-run"},
		{line: "promote shop --from staging --release 3 -m why -d"},
		{line: "secret set db-url -a shop -d", stdin: "hunter2\n"},
		{line: "secret set db-url -a shop", stdin: "\n"},
		{line: "secret set db-url=hunter2 -a shop"},
		{line: "secret set kept -a shop --no-deploy", stdin: "hunter2"},
		{line: "secret set a -a shop --from-file nowhere"},
		{line: "secret rm db-url -a shop"},
		{line: "secret rotate-key"},
		{line: "config set A=1 B= -a shop -d"},
		{line: "config set --service web A=1=2 -a shop -d"},
		{line: "config set A -a shop"},
		{line: "config unset A -a shop -d"},
		{line: "promote shop"},
		{line: "env delete staging"},
		{line: "jobs run cleanup"},
		{line: "delpoy"},
		{line: "promote shop --from staging -f compose.yaml"},
	} {
		before := len(f.requests())
		args := strings.Fields(c.line)
		record(&transcript, args, f.ikada(t.Context(), dir, c.stdin, args...))
		for _, r := range f.requests()[before:] {
			if !strings.HasPrefix(r, "GET ") {
				transcript.WriteString("→ " + r + "\n")
			}
		}
	}
	golden(t, "testdata/writing.golden", transcript.String())
}

func TestUsage(t *testing.T) {
	f := newFake(t)
	dir := directory(t, "elsewhere", nil)
	for _, line := range []string{
		"nope", "ps --nope", "logs a b", "deploy a b", "deploy --timeout x", "logs --tail x", "logs --since yesterday",
		"rollback -1", "cancel 1 2", "exec web", "token rm", "scale",
		"top a b", "top a -a b", "top --by colour", "top --since 11m", "top --since x", "failures a", "failures -n 0", "failures -n 1001",
	} {
		r := f.ikada(t.Context(), dir, "", strings.Fields(line)...)
		if r.code != ExitUsage || !strings.HasPrefix(r.err, "error: ") || r.out != "" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", line, r.code, r.out, r.err)
		}
	}
	if len(f.requests()) != 0 {
		t.Errorf("wrong usage reached the server: %v", f.requests())
	}
}

// TestMeant holds what is proposed for a command that there is not: what it is called in other programs, and what is
// spelt nearly so.
func TestMeant(t *testing.T) {
	f := newFake(t)
	for name, want := range map[string]string{
		"stop": "did you mean down?", "rm": "did you mean destroy?", "history": "did you mean releases?", "ls": "did you mean status?",
		"dpeloy": "did you mean deploy?", "secrets": "did you mean secret?", "log": "did you mean logs?", "qqq": "see ikada --help",
	} {
		if r := f.ikada(t.Context(), "", "", name); r.code != ExitUsage || !strings.HasSuffix(r.err, "; "+want+"\n") {
			t.Errorf("%s: exit %d, %q", name, r.code, r.err)
		}
	}
}

func TestCompletion(t *testing.T) {
	f := populated(t)
	dir := directory(t, "shop", map[string]string{"compose.yaml": "services: {web: {image: a}}\n"})
	for line, want := range map[string][]string{
		"logs ":             {"web", "worker"},
		"restart web w":     {"worker"},
		"scale w":           {"web=", "worker="},
		"rollback ":         {"5\t3h ago try it", "4\t3d ago"},
		"cancel 7":          {"7\tsucceeded"},
		"ps --app ":         {"blog", "shop"},
		"ps --app shop -e ": {"production"},
		"top ":              {"blog", "shop"},
		"top --by ":         {"service", "release", "task", "route"},
	} {
		words := strings.Split(line, " ")
		r := f.ikada(t.Context(), dir, "", append([]string{"__complete"}, words...)...)
		got := strings.Split(strings.TrimSpace(r.out), "\n")
		got = got[:len(got)-1] // the directive
		for i := range got {
			got[i] = strings.TrimRight(got[i], " ")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q completes to %q, stderr %s", line, got, r.err)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := f.ikada(t.Context(), dir, "", "completion", shell); r.code != 0 || !strings.Contains(r.out, "ikada") {
			t.Errorf("completion %s: exit %d, %s", shell, r.code, r.err)
		}
	}
}
