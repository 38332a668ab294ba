package cli

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/compose"
)

// FuzzReferences feeds what users write to name things on the command line: every text is taken or brings a usage
// error.
func FuzzReferences(f *testing.F) {
	for _, text := range []string{"web=3", "web=auto", "web=registry:5000/a/b@sha256:00", "10m", "2026-01-02T15:04:05Z", "=", "a=-1", "a=99999999999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		usage := func(err error) {
			if e, ok := errors.AsType[*exitError](err); err != nil && (!ok || e.code != ExitUsage) {
				t.Fatalf("%q: %v", text, err)
			}
		}
		request, err := scaleRequest([]string{text})
		usage(err)
		for name, n := range request {
			if name == "" || n < -1 || n > api.MaxReplicas {
				t.Fatalf("%q: %v", text, request)
			}
		}
		p := &compose.Project{Spec: api.AppSpec{Services: map[string]api.ServiceSpec{"web": {}}}}
		usage(giveImages(p, []string{text}))
		s := newShell(Options{Now: func() time.Time { return noon }})
		_, err = s.moment(text)
		usage(err)
	})
}

func TestMoment(t *testing.T) {
	s := newShell(Options{Now: func() time.Time { return noon }})
	for text, want := range map[string]time.Time{
		"": {}, "90m": ago(90 * time.Minute), "2d12h": ago(60 * time.Hour), "2026-01-02": time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T15:04:05+01:00": time.Date(2026, 1, 2, 14, 4, 5, 0, time.UTC),
		"2026-01-02 15:04:05":       time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
	} {
		if got, err := s.moment(text); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestCommitOf(t *testing.T) {
	const id = "0123456789012345678901234567890123456789"
	for name, files := range map[string]map[string]string{
		"branch":   {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": id + "\n"},
		"packed":   {".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": "# pack-refs\nff refs/heads/other\n" + id + " refs/heads/main\n"},
		"detached": {".git/HEAD": id + "\n"},
		"worktree": {".git": "gitdir: store/worktrees/w\n", "store/worktrees/w/HEAD": "ref: refs/heads/x\n", "store/worktrees/w/commondir": "../..\n", "store/refs/heads/x": id + "\n"},
	} {
		files["sub/dir/file"] = ""
		if got := commitOf(directory(t, "repo", files) + "/sub/dir"); got != id {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := commitOf(directory(t, "repo", map[string]string{".git/HEAD": "ref: refs/heads/unborn\n"})); got != "" {
		t.Errorf("unborn branch: %q", got)
	}
}

// TestTargetOf holds in which order a command finds its environment.
func TestTargetOf(t *testing.T) {
	here := directory(t, "shop", map[string]string{"compose.yaml": "services: {web: {image: a}}\n"})
	nowhere := directory(t, "nowhere", nil)
	env := func(app, name string) api.EnvironmentStatus {
		return api.EnvironmentStatus{Environment: api.Environment{EnvRef: api.EnvRef{App: app, Env: name}}}
	}
	for _, c := range []struct {
		dir      string
		flags    [2]string // app, env
		environ  map[string]string
		deployed []api.EnvironmentStatus
		want     string
	}{
		{dir: here, want: "shop/production"},
		{dir: here, flags: [2]string{"", "staging"}, want: "shop/staging"},
		{dir: here, flags: [2]string{"blog", ""}, want: "blog/production"},
		{dir: here, flags: [2]string{"blog/test", ""}, want: "blog/test"},
		{dir: here, environ: map[string]string{"IKADA_ENV": "staging"}, want: "shop/staging"},
		{dir: here, environ: map[string]string{"IKADA_APP": "blog"}, want: "blog/production"},
		{dir: nowhere, deployed: []api.EnvironmentStatus{env("blog", "staging")}, want: "blog/staging"},
		{dir: nowhere, deployed: []api.EnvironmentStatus{env("blog", "staging"), env("blog", "production")}, want: "blog/production"},
		{dir: nowhere, deployed: []api.EnvironmentStatus{env("blog", "staging"), env("shop", "production")}, flags: [2]string{"", "staging"}, want: "blog/staging"},
		{dir: nowhere, deployed: []api.EnvironmentStatus{env("blog", "production"), env("shop", "production")}},
		{dir: nowhere},
	} {
		f := newFake(t)
		f.on("GET /apps", c.deployed)
		environ := map[string]string{"IKADA_HOST": f.url}
		maps.Copy(environ, c.environ)
		s := newShell(Options{Dir: c.dir, Environ: environ})
		s.app, s.env = c.flags[0], c.flags[1]
		_, ref, err := s.target(t.Context())
		if c.want == "" && err == nil || c.want != "" && ref.String() != c.want {
			t.Errorf("%+v: %s, %v", c, ref, err)
		}
	}
}

func TestLeft(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3 * day: "3d", 3*day - time.Second: "3d", 47 * time.Hour: "1d23h", 2*time.Hour - time.Second: "2h", 90 * time.Minute: "1h30m",
		59*time.Minute + 59*time.Second: "1h", 59 * time.Minute: "59m", 23*time.Hour + 40*time.Minute: "23h40m", 47*time.Hour + 40*time.Minute: "2d", time.Minute - time.Millisecond: "1m", 10*time.Minute - time.Millisecond: "10m",
		45 * time.Second: "45s", 0: "0s", -time.Hour: "0s", 400 * day: "400d",
	} {
		if got := left(d); got != want {
			t.Errorf("%s: %s, expected %s", d, got, want)
		}
	}
}

// TestOtherVersion has a server that lacks what it is asked for: another version is named as the cause, the same is not.
func TestOtherVersion(t *testing.T) {
	for version, want := range map[string]string{"1.2.4": "remedy: the server is of version 1.2.4, this program of 1.2.3", "1.2.3": ""} {
		f := newFake(t)
		f.on("GET /nodes", &api.Error{Kind: api.NotFound, Message: "the API has no /api/v1/nodes; see /api/v1/openapi.json"})
		f.on("GET /version", api.Version{Version: version})
		r := f.ikada(t.Context(), "", "", "nodes")
		if r.code != ExitError || !strings.Contains(r.err, "the API has no /api/v1/nodes") || want != "" && !strings.Contains(r.err, want) || want == "" && strings.Contains(r.err, "remedy") {
			t.Errorf("version %s: exit %d, %s", version, r.code, r.err)
		}
	}
}
