package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// wayward is one service for each way in which a request can fail: what it does with a request, and how that is to be
// explained.
type wayward struct {
	service string
	raw     string // of the test app; "" answers as it should
	check   string // of the service, if not ikada's own
	policy  string // of its route
	path    string
	status  int // that the client gets; 0 is none at all
	step    string
	kind    string
	says    string // in the error
	nobody  bool   // no task is at fault
}

var waywards = []wayward{
	{service: "refuses", raw: "refuse", check: "{disabled: true}", status: 503, step: "connect", kind: "refused", says: "connection refused"},
	{service: "resets", raw: "reset", status: 502, step: "get an answer", kind: "reset", says: "reset by peer"},
	{service: "babbles", raw: "babble", status: 502, step: "get an answer", kind: "protocol", says: "status line"},
	{service: "breaks", raw: "break", status: 200, step: "pass on the answer", kind: "broken", says: "EOF"},
	{service: "sleeps", path: "/slow?d=5s", policy: ", timeout: 300ms", status: 504, step: "get an answer", kind: "timeout", says: "timeout"},
	{service: "fails", path: "/get?url=nonsense", status: 502, step: "get an answer", says: "the task answered 502"},
	{service: "starts", raw: "refuse", check: "{http: /healthz, start_period: 10m}", status: 503, step: "find a target", kind: "no target",
		says: "no task is ready", nobody: true},
}

func (w *wayward) host() string { return w.service + ".example.com" }

// compose is the service's part of the file.
func (w *wayward) compose() string {
	check := ""
	if w.check != "" {
		check = "health: " + w.check
	}
	return fmt.Sprintf(`
  %s:
    image: {registry}/app:v1
    environment: {RAW: "%s"}
    x-ikada:
      %s
      strategy: {monitor: 100ms}
      route: {host: %s, port: 8080%s}
`, w.service, w.raw, check, w.host(), w.policy)
}

// TestFailuresAreExplained lets requests fail in every way there is and looks how `ikada failures` and `ikada top` tell
// of it.
func TestFailuresAreExplained(t *testing.T) {
	t.Parallel()
	access := filepath.Join(t.TempDir(), "access.log")
	n := NewNode(t, "--access-log", access).WithImages(t)
	a := n.App(t)
	text := "services:\n  well:\n    image: {registry}/app:v1\n    ports: [\"{port}:8080\"]\n    x-ikada: {strategy: {monitor: 100ms}}\n"
	for _, w := range waywards {
		text += w.compose()
	}
	a.Compose(text)
	a.Run("deploy", "--detach").Want(t, exitDone) // it waits for the one that never gets ready
	tasks := map[string]api.TaskView{}
	Until(t, time.Minute, func() string {
		for _, task := range a.Tasks("") {
			if task.State() == api.TaskReady {
				tasks[task.Service] = task
			}
		}
		if len(tasks) == len(waywards) {
			return ""
		}
		return fmt.Sprintf("only %d tasks are ready", len(tasks))
	})
	a.Run("failures").Want(t, exitDone, "No request of "+a.Ref().String()+" has failed")
	for range 10 {
		a.Get("/")
	}
	var all sync.WaitGroup
	for _, w := range waywards {
		all.Go(func() { // some are held for as long as the balancer waits for a task
			if status := a.fail(&w); status != w.status {
				t.Errorf("%s: the client got %d, expected %d", w.service, status, w.status)
			}
		})
	}
	all.Wait()
	Until(t, 20*time.Second, func() string { // a request is counted and explained once its answer is written
		var traffic api.Traffic
		a.Run("top", a.Name, "--once", "--json", "--since", "5m").Want(t, exitDone).JSON(t, &traffic)
		if sum := traffic.Total; sum.Requests < uint64(10+len(waywards)) || sum.InFlight != 0 {
			return fmt.Sprintf("%d requests are counted, %d in flight", sum.Requests, sum.InFlight)
		}
		return ""
	})
	a.explained(tasks)
	a.counted(tasks)
	a.reopened(access)
}

// fail sends the request that fails and gives its status, 0 if no answer came.
func (a *App) fail(w *wayward) int {
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "http://"+a.HTTP+w.path, nil)
	if err != nil {
		a.t.Error(err)
		return 0
	}
	req.Host = w.host()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		a.t.Errorf("%s: %v", w.service, err)
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // it may break off, which is what is asked for
	return resp.StatusCode
}

// explained holds every failure against what was to come of it.
func (a *App) explained(tasks map[string]api.TaskView) {
	a.t.Helper()
	found := map[string]api.Failure{}
	lines := a.Run("failures", "--json").Want(a.t, exitDone).Stdout
	for line := range strings.Lines(lines) {
		var f api.Failure
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			a.t.Fatalf("failure is not JSON: %v\n%s", err, line)
		}
		if _, again := found[f.Service]; again {
			a.t.Errorf("%s is explained twice", f.Service)
		}
		found[f.Service] = f
	}
	if len(found) != len(waywards) {
		a.t.Errorf("%d failures are explained, expected %d:\n%s", len(found), len(waywards), lines)
	}
	plain := a.Run("failures", "-n", "100").Want(a.t, exitDone).Stdout
	for _, w := range waywards {
		f := found[w.service]
		task, slot := tasks[w.service].ID, 1
		if w.nobody {
			task, slot = "", 0
		}
		path, _, _ := strings.Cut(w.path, "?")
		if f.Step != w.step || f.Kind != w.kind || f.Status != w.status || !strings.Contains(f.Error, w.says) || f.Task != task || f.Slot != slot ||
			f.Method != "GET" || f.Host != w.host() || f.Path != cmp.Or(path, "/") || f.ID == "" || f.Waited <= 0 || time.Since(f.Time) > 5*time.Minute {
			a.t.Errorf("%s, task %s, is explained as %+v", w.service, task, f)
		}
		who := w.service
		if !w.nobody {
			who += ".1"
		}
		want := fmt.Sprintf(" %s %d GET %s%s: %s: ", who, w.status, w.host(), cmp.Or(path, "/"), w.step)
		if !strings.Contains(plain, want) || !strings.Contains(plain, f.ID) {
			a.t.Errorf("no %q with request %s in\n%s", want, f.ID, plain)
		}
	}
}

// counted looks at the same through top.
func (a *App) counted(tasks map[string]api.TaskView) {
	a.t.Helper()
	top := func(by string) (traffic api.Traffic) {
		a.Run("top", a.Name, "--once", "--json", "--since", "5m", "--by", by).Want(a.t, exitDone).JSON(a.t, &traffic)
		return traffic
	}
	traffic := top(api.ByService)
	total := traffic.Total
	if total.Requests != uint64(10+len(waywards)) || total.Failed != uint64(len(waywards)) || total.Status["2xx"] != 11 || total.InFlight != 0 ||
		total.Out == 0 || total.Waits.Max < api.Duration(20*time.Second) || total.Rate <= 0 {
		a.t.Errorf("total is %+v", total)
	}
	for _, row := range traffic.Rows {
		i := slices.IndexFunc(waywards, func(w wayward) bool { return w.service == row.Service })
		if i < 0 {
			if row.Service != "well" || row.Requests != 10 || row.Failed != 0 {
				a.t.Errorf("of %s: %+v", row.Service, row)
			}
			continue
		}
		kinds := map[string]uint64{}
		if w := waywards[i]; w.kind != "" {
			kinds[w.kind] = 1
		}
		if row.Requests != 1 || row.Failed != 1 || len(row.Failures) != len(kinds) || kinds[waywards[i].kind] != row.Failures[waywards[i].kind] {
			a.t.Errorf("of %s: %+v", row.Service, row)
		}
	}
	found := map[string]bool{}
	for _, row := range top(api.ByTask).Rows {
		found[row.Service+" "+row.Task] = row.Task == "" || row.Slot == 1 && row.Release == 1
	}
	for _, want := range []string{"well " + tasks["well"].ID, "resets " + tasks["resets"].ID, "starts "} {
		if !found[want] {
			a.t.Errorf("no row of %q by task: %v", want, found)
		}
	}
	if !slices.ContainsFunc(top(api.ByRoute).Rows, func(r api.TrafficRow) bool { return r.Route == "resets.example.com/" && r.Failed == 1 }) {
		a.t.Error("no row by route of the service that resets")
	}
	plain := a.Run("top").Want(a.t, exitDone, "SERVICE", "FAILED", "P99").Stdout // in a pipe: once
	if !strings.Contains(plain, "answered 5xx") && !strings.Contains(plain, "0 requests") {
		a.t.Errorf("top printed\n%s", plain)
	}
}

// reopened moves the access log away and tells the balancer's process.
func (a *App) reopened(access string) {
	a.t.Helper()
	if err := os.Rename(access, access+".1"); err != nil {
		a.t.Fatal(err)
	}
	if err := syscall.Kill(a.balancerPID(a.t), syscall.SIGHUP); err != nil {
		a.t.Fatal(err)
	}
	Until(a.t, 10*time.Second, func() string {
		if _, err := os.Stat(access); err != nil {
			return err.Error()
		}
		return ""
	})
	a.Get("/")
}
