package remote

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

func traffic(t *testing.T, n *node, q api.TrafficQuery) api.Traffic {
	t.Helper()
	got, err := n.Traffic(t.Context(), env, q)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestTraffic asks for what two tasks' requests have met, one of them in flight, in all the ways there are.
func TestTraffic(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	n := start(t, dir, "1")
	held := make(chan struct{})
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hold":
			<-held
		case "/fail":
			w.WriteHeader(500)
		}
	}))
	defer gate.Close()
	letGo := sync.OnceFunc(func() { close(held) })
	defer letGo() // before the server waits for its requests
	ask := func(path string) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	n.Apply(table(1, port, map[string]*httptest.Server{"a": backend(t, "a")}))
	for range 3 {
		ask("/")
	}
	n.Apply(table(2, port, map[string]*httptest.Server{"b": gate}))
	ask("/fail")
	done := make(chan struct{})
	go func() {
		defer close(done)
		ask("/hold")
	}()
	until(t, "what is in flight", func() bool {
		got := traffic(t, n, api.TrafficQuery{})
		return got.Total.InFlight == 1 && got.Total.Requests == 4
	})

	got := traffic(t, n, api.TrafficQuery{})
	if got.EnvRef != env || got.By != api.ByService || len(got.Rows) != 1 || got.Rows[0].Service != "web" || !got.From.Before(got.Until) {
		t.Errorf("by service: %+v", got)
	}
	total := got.Total
	if total.Failed != 1 || total.Status["2xx"] != 3 || total.Status["5xx"] != 1 || len(total.Failures) != 0 || total.Out == 0 || total.In == 0 ||
		total.Rate <= 0 || total.Waits.P50 <= 0 || total.Waits.P50 > total.Waits.P99 || total.Waits.P99 > total.Waits.Max || len(total.Points) != 0 {
		t.Errorf("total: %+v", total)
	}
	rows := map[string]api.TrafficRow{}
	until(t, "the task that left to be gone", func() bool { // it is once its last request has ended
		clear(rows)
		for _, row := range traffic(t, n, api.TrafficQuery{By: api.ByTask, Since: api.Duration(api.MaxTraffic), Points: true}).Rows {
			rows[row.Task] = row
		}
		return rows[api.GoneTasks].Requests > 0
	})
	var requests, inFlight uint64
	for _, p := range rows["b"].Points {
		requests, inFlight = requests+p.Requests, uint64(p.InFlight)
	}
	if rows[api.GoneTasks].Requests != 3 || rows["b"].Requests != 1 || rows["b"].InFlight != 1 || rows["b"].Release != 1 || requests != 1 || inFlight != 1 {
		t.Errorf("by task: %+v", rows)
	}
	route := fmt.Sprintf("127.0.0.1:%d", port)
	if rows := traffic(t, n, api.TrafficQuery{By: api.ByRoute}).Rows; len(rows) != 1 || rows[0].Route != route {
		t.Errorf("by route: %+v", rows)
	}
	if rows := traffic(t, n, api.TrafficQuery{By: api.ByRelease}).Rows; len(rows) != 1 || rows[0].Release != 1 {
		t.Errorf("by release: %+v", rows)
	}
	for field, q := range map[string]api.TrafficQuery{"by": {By: "colour"}, "since": {Since: api.Duration(time.Hour)}} {
		if _, err := n.Traffic(t.Context(), env, q); !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	letGo()
	<-done
}

// closed is the address of a port at which nobody listens.
type closed struct {
	net.Listener
	port uint16
}

func (c closed) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(c.port)} }

// TestFailures holds that failures come newest first, and that those of a replaced process stay known.
func TestFailures(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	refusing := &httptest.Server{Listener: closed{port: freePort(t)}}
	fail := func(path string) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	short := func(version uint64, tasks map[string]*httptest.Server) *api.RouteTable {
		rt := table(version, port, tasks)
		rt.Pools[0].Hold = api.Duration(50 * time.Millisecond)
		return rt
	}
	one := start(t, dir, "1")
	held := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held }))
	defer slow.Close()
	letGo := sync.OnceFunc(func() { close(held) })
	defer letGo()
	one.Apply(short(1, map[string]*httptest.Server{"a": slow}))
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		fail("/") // keeps the first process
	}()
	until(t, "the slow request", func() bool { return traffic(t, one, api.TrafficQuery{}).Total.InFlight == 1 })
	one.Apply(short(2, nil))
	fail("/nobody?token=secret")
	one.end()
	two := start(t, dir, "2")
	two.Apply(short(3, map[string]*httptest.Server{"b": refusing}))
	fail("/refused")
	var all []api.Failure
	until(t, "both failures", func() bool {
		var err error
		if all, err = two.Failures(t.Context(), env, api.FailureQuery{}); err != nil {
			t.Fatal(err)
		}
		return len(all) == 2 && traffic(t, two, api.TrafficQuery{}).Total.Requests == 2
	})
	if f := all[0]; f.Path != "/refused" || f.Task != "b" || f.Step != string(meter.StepConnect) || f.Kind != "refused" || f.Status != 503 ||
		f.Method != "GET" || f.ID == "" || f.Service != "web" || f.Release != 1 || f.Waited < api.Duration(50*time.Millisecond) {
		t.Errorf("refused: %+v", f)
	}
	if f := all[1]; f.Path != "/nobody" || f.Task != "" || f.Step != string(meter.StepPlace) || f.Kind != "no target" || f.Error != "no task is ready" {
		t.Errorf("nobody: %+v", f)
	}
	if got := traffic(t, two, api.TrafficQuery{}).Total; got.Requests != 2 || got.Failed != 2 || got.Failures["refused"] != 1 || got.Failures["no target"] != 1 {
		t.Errorf("counts of both processes: %+v", got)
	}
	if some, err := two.Failures(t.Context(), env, api.FailureQuery{Last: 1}); err != nil || len(some) != 1 || some[0] != all[0] {
		t.Errorf("the last one: %+v, %v", some, err)
	}
	if some, err := two.Failures(t.Context(), env, api.FailureQuery{Since: all[0].Time}); err != nil || len(some) != 1 || some[0] != all[0] {
		t.Errorf("since the last one: %+v, %v", some, err)
	}
	if _, err := two.Failures(t.Context(), env, api.FailureQuery{Last: -1}); !api.IsKind(err, api.Invalid) {
		t.Errorf("the last -1: %v", err)
	}
	letGo()
	<-waiting
}

// TestHangup lets the log's file be moved away.
func TestHangup(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	path := filepath.Join(dir, "access.log")
	n := configured(t, dir, Config{Version: "1", AccessLog: path})
	n.Apply(table(1, port, map[string]*httptest.Server{"a": backend(t, "a")}))
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(n.PID(), unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "a new file", func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
	if got, err := get(http.DefaultClient, port, ""); got != "a" {
		t.Errorf("after SIGHUP: %q, %v", got, err)
	}
	without := start(t, shortDir(t), "1")
	pid := without.PID()
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, err := without.Traffic(t.Context(), env, api.TrafficQuery{}); err != nil || without.PID() != pid {
		t.Errorf("a process without a log has not outlived SIGHUP: %v", err)
	}
}
