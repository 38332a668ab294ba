package compose

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// tree writes files below a new directory named name.
func tree(t testing.TB, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustLoad(t *testing.T, o Options) *Project {
	t.Helper()
	p, err := Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const oneService = "services: {web: {image: nginx}}\n"

func TestAppName(t *testing.T) {
	for _, c := range []struct{ dir, file, option, variable, want string }{
		{dir: "shop", want: "shop"},
		{dir: "My_Shop v1.2", want: "my-shop-v1-2"},
		{dir: "---", want: "app"},
		{dir: "shop", file: "name: other\n", want: "other"},
		{dir: "shop", file: "name: ${NAME}-x\n", want: "from-env-x"},
		{dir: "shop", file: "name: other\n", variable: "variable", want: "variable"},
		{dir: "shop", file: "name: other\n", option: "option", variable: "variable", want: "option"},
		{dir: strings.Repeat("a", 80), want: strings.Repeat("a", 63)},
	} {
		dir := tree(t, c.dir, map[string]string{"compose.yaml": c.file + oneService})
		o := Options{Dir: dir, Name: c.option, Environ: map[string]string{"COMPOSE_PROJECT_NAME": c.variable, "NAME": "from-env"}}
		if got := mustLoad(t, o).Spec.App; got != c.want {
			t.Errorf("%+v: app %q", c, got)
		}
		if got := Name(o); got != c.want {
			t.Errorf("%+v: Name gives %q", c, got)
		}
	}
}

func TestEnvironmentPrecedence(t *testing.T) {
	dir := tree(t, "shop", map[string]string{
		".env":         "TAG=file\nONLY=file\n",
		"compose.yaml": "services: {web: {image: \"a:${TAG}-${ONLY}-${IKADA_ENV}\", environment: [ONLY]}}\n",
	})
	p := mustLoad(t, Options{Dir: dir, Environ: map[string]string{"TAG": "caller"}})
	web := p.Spec.Services["web"]
	if web.Image != "a:caller-file-production" || web.Env["ONLY"] != "file" || len(p.Warnings) != 0 {
		t.Errorf("got %+v, warnings %v", web, p.Warnings)
	}
}

func TestFilesGivenByName(t *testing.T) {
	dir := tree(t, "shop", map[string]string{
		"a.yaml":       "services: {web: {image: a, labels: {A: a}}}\n",
		"sub/b.yaml":   "services: {web: {image: b, labels: {B: b}}}\n",
		"compose.yaml": "services: {never: {image: c}}\n",
	})
	want := func(p *Project) {
		t.Helper()
		web := p.Spec.Services["web"]
		if len(p.Spec.Services) != 1 || web.Image != "b" || web.Labels["A"] != "a" || web.Labels["B"] != "b" {
			t.Errorf("got %+v", p.Spec.Services)
		}
	}
	want(mustLoad(t, Options{Dir: dir, Files: []string{"a.yaml", "sub/b.yaml"}}))
	want(mustLoad(t, Options{Dir: dir, Environ: map[string]string{"COMPOSE_FILE": "a.yaml:sub/b.yaml"}}))
	p := mustLoad(t, Options{Files: []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "sub/b.yaml")}})
	want(p)
	if p.Dir != dir || p.Spec.App != "shop" {
		t.Errorf("dir %s, app %s", p.Dir, p.Spec.App)
	}
}

func TestProfiles(t *testing.T) {
	dir := tree(t, "shop", map[string]string{"compose.yaml": `services:
  web: {image: a}
  debug: {image: b, profiles: [debug], network_mode: bridge}
  broken: {image: c, profiles: [other], network_mode: host, privileged: true, devices: [/dev/null]}
`})
	for _, o := range []Options{
		{Dir: dir, Profiles: []string{"debug"}},
		{Dir: dir, Environ: map[string]string{"COMPOSE_PROFILES": "x, debug"}},
	} {
		p := mustLoad(t, o)
		if _, ok := p.Spec.Services["debug"]; !ok || len(p.Spec.Services) != 2 || len(p.Warnings) != 1 {
			t.Errorf("%+v: services %v, warnings %v", o, p.Spec.Services, p.Warnings)
		}
	}
	if p := mustLoad(t, Options{Dir: dir}); len(p.Spec.Services) != 1 || len(p.Warnings) != 0 {
		t.Errorf("without profiles: services %v, warnings %v", p.Spec.Services, p.Warnings)
	}
	if _, err := Load(t.Context(), Options{Dir: dir, Profiles: []string{"other"}}); err == nil {
		t.Error("what an active profile's service cannot have was not refused")
	}
}

func TestNothingToLoad(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []Options{{Dir: dir}, {Dir: filepath.Join(dir, "nope")}, {Dir: dir, Files: []string{"nope.yaml"}}} {
		if _, err := Load(t.Context(), o); !api.IsKind(err, api.NotFound) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestSizeCountsIncludes(t *testing.T) {
	big := "x-filler: \"" + strings.Repeat("a", MaxFileBytes/2) + "\"\n"
	for name, files := range map[string]map[string]string{
		"one file": {"compose.yaml": oneService + big + strings.Replace(big, "filler", "more", 1)},
		"include":  {"compose.yaml": "include: [sub/more.yaml]\n" + oneService + big, "sub/more.yaml": "services: {db: {image: db}}\n" + big},
		"extends":  {"compose.yaml": "services: {web: {extends: {file: more.yaml, service: db}}}\n" + big, "more.yaml": "services: {db: {image: db}}\n" + big},
	} {
		_, err := Load(t.Context(), Options{Dir: tree(t, "shop", files)})
		if !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), "at most 1048576 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooManyServices(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range api.MaxServices + 1 {
		b.WriteString("  s" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + ": {image: a}\n")
	}
	_, err := Load(t.Context(), Options{Dir: tree(t, "shop", map[string]string{"compose.yaml": b.String()})})
	if err == nil || !strings.HasPrefix(err.Error(), `services: "201"`) {
		t.Errorf("got %v", err)
	}
}

func TestDockerfile(t *testing.T) {
	for _, c := range []struct {
		file     string
		ports    []uint16 // published
		routes   int
		warnings int
	}{
		{"FROM a\nEXPOSE 8080\n", []uint16{8080}, 0, 0},
		{"FROM a\nEXPOSE 80\n", nil, 1, 0},
		{"FROM a\n", nil, 0, 1},
		{"FROM a AS x\nEXPOSE 1\nFROM b\nEXPOSE 2-3/tcp 2\n", []uint16{2, 3}, 0, 0},
		{"FROM a AS x\nEXPOSE 1\nFROM 0\nEXPOSE 2\n", []uint16{1, 2}, 0, 0},
		{"# comment\nARG A=b\nFROM $A\nexpose 53/udp\n", nil, 0, 2},
		{"FROM a\nRUN <<EOF\nEXPOSE 9\nEOF\nEXPOSE 7\n", []uint16{7}, 0, 0},
	} {
		p := mustLoad(t, Options{Dir: tree(t, "site", map[string]string{"Dockerfile": c.file})})
		s := p.Spec.Services["site"]
		var ports []uint16
		for _, port := range s.Ports {
			ports = append(ports, port.Published)
		}
		if !slices.Equal(ports, c.ports) || len(s.Routes) != c.routes || len(p.Warnings) != c.warnings || p.Builds["site"].Context != p.Dir {
			t.Errorf("%q: ports %v, routes %v, warnings %v", c.file, ports, s.Routes, p.Warnings)
		}
	}
	for _, broken := range []string{"", "EXPOSE 80\n", "# only\n"} {
		if _, err := Load(t.Context(), Options{Dir: tree(t, "site", map[string]string{"Dockerfile": broken})}); !api.IsKind(err, api.Invalid) {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	dir := tree(t, "shop", map[string]string{"compose.yaml": `services:
  web: {image: a, environment: {PASSWORD: hunter2, "BAD=": hunter2}, secrets: [s], user: "a b"}
secrets: {s: {environment: S}}
`})
	_, err := Load(t.Context(), Options{Dir: dir, Environ: map[string]string{"S": "hunter2"}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), "services.web.user") || !strings.Contains(err.Error(), "services.web.environment") {
		t.Errorf("not every wrong field is named: %v", err)
	}
}

func TestPasswordsStayOutOfErrors(t *testing.T) {
	for _, auth := range []string{
		"hunter2", "{ann: hunter2}", "[hunter2]", "['ann:hunter2']", "['ann:hunter2', 'ann:hunter2']", "{'ann:hunter2': x}", "[{ann: hunter2}]",
		"{ann: [hunter2]}", "{ann: {a: hunter2}}", "{ann: 'hunter2$%'}", "{ann: 'hunter2${'}", "['ann:hunter2${A:?}']", "{ann: $2y$10$hunter2}",
	} {
		dir := tree(t, "shop", map[string]string{"compose.yaml": "services:\n  web: {image: a, ports: ['80'], x-ikada: {route: {host: a.com, basic_auth: " + auth + "}}}\n"})
		_, err := Load(t.Context(), Options{Dir: dir})
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.HasPrefix(err.Error(), "services.web.x-ikada.route.basic_auth") {
			t.Errorf("%s: got %v", auth, err)
		}
	}
}

// TestExamples holds that the examples load, without a warning.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/compose.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		p, err := Load(t.Context(), Options{Dir: filepath.Dir(file), Environ: map[string]string{"STORE_PASSWORD": "x"}})
		if err != nil || len(p.Warnings) > 0 {
			t.Errorf("%s: %v, warnings %q", file, err, p.Warnings)
		}
	}
}
