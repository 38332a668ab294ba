package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
)

func TestRollUnderLoad(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	h1 := StartLoad(t, 4, a.URL("/"), "v1", "v2", "v3")
	h2 := StartLoadH2C(t, 2, a.URL("/"), "v1", "v2", "v3")
	slow := StartLoad(t, 2, a.URL("/slow?d=300ms"), "v1", "v2", "v3")
	a.web("v2")
	a.Deploy().Want(t, exitDone, "succeeded", "1 → 2", "failed        0")
	a.web("v3")
	r := a.Deploy("--json")
	var d api.Deployment
	r.JSON(t, &d)
	if d.State != api.DeploySucceeded || d.Receipt.Requests == 0 || d.Receipt.Failed != 0 {
		t.Errorf("receipt is %+v of a deployment that %s", d.Receipt, d.State)
	}
	before := h1.Seen("v3")
	a.Run("rollback").Want(t, exitDone, "3 → 2")
	for name, l := range map[string]*Load{"HTTP/1.1": h1, "h2c": h2, "slow": slow} {
		got := l.StopClean(t, 20)
		if got.Seen["v1"] == 0 || got.Seen["v2"] == 0 || got.Seen["v3"] == 0 {
			t.Errorf("%s saw %v, expected each version", name, got.Seen)
		}
	}
	if before == 0 {
		t.Error("v3 was never seen before the rollback")
	}
	if got := a.Get("/"); got != "v2" {
		t.Errorf("after the rollback the app answers %q", got)
	}
}

// TestWebSocketIsSentOn has a client of the old release: it is told that its task goes away, while the new release
// serves already, and finds the new one when it connects again.
func TestWebSocketIsSentOn(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version string) { // one task: of several old ones the client may come to another
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    deploy: {replicas: 1}
    x-ikada: {health: {http: /healthz, interval: 1s}, strategy: {monitor: 1s, drain: 5s, warm: 0s}}
`)
	}
	compose("v1")
	a.Deploy()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var c *websocket.Conn
	connect := func() {
		t.Helper()
		var err error
		if c, _, err = websocket.Dial(ctx, strings.Replace(a.URL("/ws"), "http", "ws", 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	connect()
	defer func() { _ = c.CloseNow() }()
	say := func(text string) (string, error) {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			return "", err
		}
		_, b, err := c.Read(ctx)
		return string(b), err
	}
	if got, err := say("hello"); err != nil || got != "v1 hello" {
		t.Fatalf("WebSocket answers %q, %v", got, err)
	}
	compose("v2")
	a.Deploy("--detach")
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the client of the old task was told %v", err)
	}
	connect()
	if got, err := say("again"); err != nil || got != "v2 again" {
		t.Errorf("WebSocket answers %q, %v", got, err)
	}
	a.Run("watch").Want(t, exitDone, "succeeded")
}

func TestStreamEndsBeforeItsTask(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	resp, err := http.Get(a.URL("/stream?n=30&d=100ms")) // the head comes with the first line
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(resp.Body) // what came is counted
		body <- string(b)
	}()
	a.web("v2")
	a.Deploy()
	if got := <-body; strings.Count(got, "v1 ") != 30 {
		t.Errorf("the stream broke off: %d lines of 30", strings.Count(got, "v1 "))
	}
}

// most watches an app's tasks during a deployment and gives the greatest number alive and the least number ready.
func (a *App) extremes(deploy func()) (most, leastReady int) {
	a.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		deploy()
	}()
	leastReady = 1 << 30
	for {
		alive, ready := 0, 0
		for _, task := range a.Tasks("web") {
			switch task.State() {
			case api.TaskReady:
				if task.Desired == api.WantRunning {
					ready++
				}
				alive++
			case api.TaskStarting, api.TaskRunning:
				alive++
			}
		}
		most, leastReady = max(most, alive), min(leastReady, ready)
		select {
		case <-done:
			return most, leastReady
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestStrategies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		order       string
		parallelism int
		most        int // tasks that live at once
		leastReady  int
	}{
		{"start-first", 1, 5, 4},
		{"start-first", 0, 8, 4},
		{"stop-first", 1, 4, 3},
		{"stop-first", 2, 4, 2},
	} {
		t.Run(fmt.Sprintf("%s %d", c.order, c.parallelism), func(t *testing.T) {
			t.Parallel()
			a := shared.App(t)
			compose := func(version string) {
				a.Compose(fmt.Sprintf(`
services:
  web:
    image: {registry}/app:%s
    ports: ["{port}:8080"]
    deploy:
      replicas: 4
      update_config: {order: %s, parallelism: %d, monitor: 500ms}
    x-ikada: {health: {http: /healthz}, strategy: {warm: 0s}}
`, version, c.order, c.parallelism))
			}
			compose("v1")
			a.Deploy()
			compose("v2")
			load := StartLoad(t, 1, a.URL("/"), "v1", "v2")
			most, least := a.extremes(func() { a.Run("deploy").Want(t, exitDone) })
			load.StopClean(t, 10)
			if most > c.most || least < c.leastReady {
				t.Errorf("%d tasks lived at once and %d were ready, expected %d at most and %d at least", most, least, c.most, c.leastReady)
			}
		})
	}
}
