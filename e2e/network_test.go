package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestNamesAndIsolation(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.Compose(`
services:
  front:
    image: {registry}/app:v1
    networks: [outer]
    ports: ["{port}:8080"]
    depends_on: [middle]
    x-ikada: {strategy: {monitor: 300ms}}
  middle:
    image: {registry}/app:v2
    expose: ["8080"]
    networks: {outer: {}, inner: {aliases: [center]}}
    deploy: {replicas: 2}
    x-ikada: {strategy: {monitor: 300ms}}
  back:
    image: {registry}/app:v3
    expose: ["8080"]
    networks: [inner]
    x-ikada: {strategy: {monitor: 300ms}}
networks: {outer: {}, inner: {internal: true}}
`)
	a.Deploy()
	reaches := func(service, url, want string) {
		t.Helper()
		limit := "3" // for what must not arrive
		if want != "" {
			limit = "30"
		}
		got := a.Run("exec", service, "timeout", limit, "wget", "-q", "-O", "-", url)
		if (got.Code == 0) != (want != "") || got.Stdout != want {
			t.Errorf("%s asks %s and gets %q, exit code %d; expected %q\n%s", service, url, got.Stdout, got.Code, want, got.Stderr)
		}
	}
	reaches("front", "http://middle:8080/", "v2")
	reaches("middle", "http://back:8080/", "v3")
	reaches("back", "http://center:8080/", "v2")
	reaches("front", "http://back:8080/", "")
	reaches("front", "http://center:8080/", "")
	address := a.Tasks("back")[0].Status.Address
	reaches("front", "http://"+address+":8080/", "")
	reaches("middle", "http://"+address+":8080/", "v3")
	for name, want := range map[string]string{"middle": "1", "tasks.middle": "2", "middle.2": "1"} {
		if got := a.Shell("front", "nslookup "+name+" 2>/dev/null | grep -c '^Name:'"); got != want {
			t.Errorf("%s has %s addresses, expected %s:\n%s", name, got, want, a.Shell("front", "nslookup "+name))
		}
	}

	b := shared.App(t)
	b.web("v4")
	b.Deploy()
	other := b.Run("exec", "web", "timeout", "3", "wget", "-q", "-O", "-", "http://"+address+":8080/")
	if other.Code == 0 {
		t.Errorf("another app reaches a task by its address\n%s", other)
	}
	if r := b.Run("exec", "web", "timeout", "3", "wget", "-q", "-O", "-", "http://middle:8080/"); r.Code == 0 {
		t.Errorf("another app resolves a service\n%s", r)
	}
	// A published port is open to other apps too, at the node's address, as to anyone.
	gateway := b.Shell("web", "ip route | awk '/default/ {print $3}'")
	if r := b.Run("exec", "web", "timeout", "30", "wget", "-q", "-O", "-", fmt.Sprintf("http://%s:%d/", gateway, a.Port)); r.Stdout != "v1" {
		t.Errorf("the published port at %s: %s", gateway, r)
	}
}

func TestEnvironmentsSideBySide(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	second := nextPort()
	a.Compose(`
services:
  web:
    image: {registry}/app:${TAG:-v1}
    ports: ["${PORT:-{port}}:8080"]
    volumes: ["data:/var/data"]
    x-ikada: {strategy: {monitor: 300ms}}
volumes: {data: {}}
`)
	a.Deploy()
	a.File(".env", fmt.Sprintf("TAG=v2\nPORT=%d\n", second))
	a.Deploy("--env", "staging")
	if got := a.Get("/"); got != "v1" {
		t.Errorf("production answers %q", got)
	}
	if _, got := get(t, fmt.Sprintf("http://127.0.0.1:%d/", second)); got != "v2" {
		t.Errorf("staging answers %q", got)
	}
	a.Shell("web", "echo production > /var/data/file")
	if r := a.Run("exec", "-e", "staging", "web", "ls", "/var/data"); r.Code != 0 || r.Stdout != "" {
		t.Errorf("staging sees production's volume\n%s", r)
	}
	if r := a.Run("exec", "-e", "staging", "web", "timeout", "3", "wget", "-q", "-O", "-", "http://"+a.Tasks("web")[0].Status.Address+":8080/"); r.Code == 0 {
		t.Errorf("staging reaches production's task\n%s", r)
	}
	a.Run("destroy", "-y", "--env", "staging", "--volumes").Want(t, exitDone)
	if got := a.Get("/read?path=/var/data/file"); got != "production\n" {
		t.Errorf("production's volume holds %q after staging was destroyed", got)
	}
}

// A protocol in which the server speaks first passes a published port, and stays through a swap.
func TestPublishedTCPPort(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(`
services:
  mail:
    image: {registry}/app:` + version + `
    environment: {TCP_PORT: "2525"}
    ports: ["{port}:2525"]
    x-ikada: {strategy: {monitor: 300ms, drain: 10s}}
`)
	}
	compose("v1")
	a.Deploy()
	dial := func(want string) (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", a.Port), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		r := bufio.NewReader(c)
		if line, err := r.ReadString('\n'); err != nil || line != want {
			t.Fatalf("greeting is %q, %v; expected %q", line, err, want)
		}
		return c, r
	}
	c, r := dial("220 testapp v1\r\n")
	echo := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text+"\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := r.ReadString('\n'); err != nil || got != text+"\n" {
			t.Fatalf("echo gives %q, %v", got, err)
		}
	}
	echo("before")
	compose("v2")
	a.Run("deploy", "--detach").Want(t, exitDone)
	Until(t, 20*time.Second, func() string {
		n, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", a.Port), 5*time.Second)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = n.Close() }()
		_ = n.SetDeadline(time.Now().Add(5 * time.Second))
		if line, err := bufio.NewReader(n).ReadString('\n'); line != "220 testapp v2\r\n" {
			return fmt.Sprintf("greeting is %q, %v", line, err)
		}
		return ""
	})
	echo("while the old task drains")
	_ = c.Close()
	a.Run("watch").Want(t, exitDone)
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.Compose(`
services:
  web:
    image: {registry}/app:v1
    x-ikada: {route: "{name}.example.com", strategy: {monitor: 300ms}}
  api:
    image: {registry}/app:v2
    x-ikada: {route: "{name}.example.com/api", strategy: {monitor: 300ms}}
`)
	a.Deploy() // the port is EXPOSE's
	ask := func(host, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.HTTP+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for _, c := range []struct {
		host, path, want string
		code             int
	}{
		{a.Name + ".example.com", "/", "v1", 200},
		{strings.ToUpper(a.Name) + ".example.com:8080", "/", "v1", 200},
		{a.Name + ".example.com", "/apis", "v1", 200},
		{"nobody.example.com", "/", "", 404},
	} {
		if code, body := ask(c.host, c.path); code != c.code || c.want != "" && body != c.want {
			t.Errorf("%s%s: %d %q, expected %d %q", c.host, c.path, code, body, c.code, c.want)
		}
	}
	if _, body := ask(a.Name+".example.com", "/api"); body != "v2" {
		t.Errorf("/api is answered with %q, expected of the service api", body)
	}
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(migrate string) {
		a.Compose(`
services:
  db:
    image: {registry}/app:v1
    environment: {START_DELAY: 1s}
    expose: ["8080"]
    healthcheck: {test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/healthz"], interval: 1s, start_period: 10s}
    x-ikada: {strategy: {monitor: 300ms}}
  migrate:
    image: {registry}/base
    command: [sh, -c, "wget -q -O - http://db:8080/ && ` + migrate + `"]
    restart: "no"
    depends_on: {db: {condition: service_healthy}}
  web:
    image: {registry}/app:v2
    ports: ["{port}:8080"]
    depends_on: {migrate: {condition: service_completed_successfully}}
    x-ikada: {strategy: {monitor: 300ms}}
`)
	}
	compose("echo migrated")
	a.Deploy()
	all, err := a.Client(t).Tasks(t.Context(), a.Ref(), true)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]api.TaskView{}
	for _, task := range all {
		at[task.Service] = task
	}
	if db, job, web := at["db"].Status, at["migrate"].Status, at["web"].Status; job.StartedAt.Before(db.ReadyAt) || web.StartedAt.Before(job.FinishedAt) {
		t.Errorf("order is wrong: db ready %s, migrate %s to %s, web started %s", db.ReadyAt, job.StartedAt, job.FinishedAt, web.StartedAt)
	}
	a.Run("logs", "migrate").Want(t, exitDone, "migrated")
	compose("echo the schema is broken; exit 4")
	a.Run("deploy").Want(t, exitRolledBack, "migrate", "code 4")
	if got := a.Get("/"); got != "v2" {
		t.Errorf("app answers %q", got)
	}
}

func TestStopSignal(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1", `    stop_signal: SIGUSR1`)
	a.Deploy()
	a.web("v2", "    environment: {IGNORE_TERM: \"1\"}")
	a.Deploy()
	a.Run("logs").Want(t, exitDone, "got user defined signal 1")
	began := time.Now()
	a.web("v3")
	a.Deploy() // the old tasks ignore SIGTERM: killed after stop_grace_period, 3 s
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("the deploy took %s, less than the grace period of 3 s", took)
	}
	killed := 0
	for _, task := range a.tasks(true) {
		if code := task.Status.ExitCode; task.Release == 2 && code != nil && *code == 137 {
			killed++
		}
	}
	if killed != 2 {
		t.Errorf("%d tasks that ignore their signal were killed, expected 2", killed)
	}
	a.Run("logs").Want(t, exitDone, "got terminated")
}
