package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/remote"
)

const (
	program = "../../bin/ikada"

	services = 2000 // each with a route and a pool of its own
	replicas = 2
	changing = 10 // services whose tasks are replaced with each table, by those of another release and back by turns
	idle     = 10_000
	swaps    = 20 // tables a second

	turn = 40 * time.Second // each idle connection asks once in that time
)

var shop = api.EnvRef{App: "shop", Env: api.DefaultEnv}

// origin is a server that tells which one it is, and what it was asked.
func origin(t *testing.T, name string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: timeLimit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if b, err := io.ReadAll(r.Body); err == nil {
				_, _ = w.Write(b)
			}
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %s", name, r.Host, r.URL.Path)
	})}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return ln.Addr().String()
}

// town is the services of one node, and what their tasks are at the moment.
type town struct {
	origins []string
	ages    [services]int // how often the tasks of each were replaced
}

func host(i int) string { return fmt.Sprintf("svc-%d.example", i) }

// table is the routes of a version of the town.
func (n *town) table(version uint64) *api.RouteTable {
	t := &api.RouteTable{Version: version}
	for i, age := range n.ages {
		service := fmt.Sprint("svc-", i)
		p := api.Pool{Name: shop.String() + "/" + service + ":80", EnvRef: shop, Service: service, Hold: api.Duration(10 * time.Second)}
		for r := range replicas {
			p.Targets = append(p.Targets, api.Target{Task: fmt.Sprintf("%s.%d-%d", service, r, age), Release: uint64(1 + age%2),
				Address: n.origins[(i+age+r)%len(n.origins)]})
		}
		t.Pools = append(t.Pools, p)
		t.Routes = append(t.Routes, api.Route{Host: host(i), Path: "/", Pool: p.Name})
	}
	return t
}

// move replaces the tasks of some services.
func (n *town) move(version uint64) {
	for i := range changing {
		n.ages[(int(version)*changing+i)%services]++
	}
}

// visit asks a service; half of the visits are to a few of them.
func visit(rng *rand.Rand) *Question {
	if rng.IntN(2) == 0 {
		return question(rng.IntN(20))
	}
	return question(rng.IntN(services))
}

func question(i int) *Question {
	want := host(i) + " /x"
	return &Question{Host: host(i), Path: "/x", Check: func(reply []byte) error {
		if _, asked, found := strings.Cut(string(reply), " "); !found || asked != want {
			return fmt.Errorf("reply %.100q, expected one to %q", reply, want)
		}
		return nil
	}}
}

// post sends a body and wants it back; some are larger than what the balancer reads at once, some come in chunks.
func post(rng *rand.Rand) *Question {
	q := Echo(rng)
	q.Host = host(rng.IntN(services))
	return q
}

// balancer starts the program's balancer as a node does.
func balancer(t *testing.T, http string) *remote.Balancer {
	t.Helper()
	binary, err := filepath.Abs(program)
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	dir, err := os.MkdirTemp("", "iks") // short: the path of a unix socket may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := remote.New(remote.Config{Socket: filepath.Join(dir, "s"), HTTP: http, Version: "soak"}, dir, []string{binary, "proxy"}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		said, _ := os.ReadFile(filepath.Join(dir, "proxy.log"))
		if len(said) > 0 {
			t.Errorf("the balancer said:\n%s", said[:min(len(said), 4<<10)])
		}
	})
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// freeAddr gives an address at which nobody listens, and whose port the kernel gives to nobody else until the test's end:
// a socket holds it that lets others listen there.
func freeAddr(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", addr.(*unix.SockaddrInet4).Port)
}

// TestTablesSwapUnderLoad has a balancer keep 10,000 idle connections and serve 2,000 services while their route table
// is replaced 20 times a second. No request may fail. IKADA_SOAK says for how long, 20 s without; from two minutes on
// its memory must not grow.
func TestTablesSwapUnderLoad(t *testing.T) {
	length := 20 * time.Second
	if s := os.Getenv("IKADA_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatalf("IKADA_SOAK: %v", err)
		}
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Fatalf("%v: install Debian's wrk", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < idle+4000 {
		t.Skipf("a process may have %d files open, %v; this takes %d", files.Cur, err, idle+4000)
	}
	addr := freeAddr(t)
	b := balancer(t, addr)
	n := &town{}
	for i := range 8 {
		n.origins = append(n.origins, origin(t, fmt.Sprint("origin-", i)))
	}
	version := uint64(1)
	b.Apply(n.table(version))
	if _, err := b.Window("soak", shop); err != nil {
		t.Fatal(err)
	}
	empty := take(t, b.PID(), 0)
	crowd := gather(t, addr, idle, turn, func(i int) *Question { return question(i % services) })
	began := time.Now()
	t.Logf("without connections: %.1f MiB PSS", float64(empty.pss)/1024)

	wrk, err := StartWrk(t.TempDir(), WrkConfig{URL: "http://" + addr + "/x", Conns: 64, Pause: 100 * time.Millisecond, Hosts: services, Host: "svc-%d.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = wrk.Stop() }() // what it says is asked for below
	load := Start(
		Clients{Name: "kept", Kind: Kept, Addr: addr, Count: 10, Every: 50 * time.Millisecond, Ask: visit},
		Clients{Name: "new connection", Kind: Fresh, Addr: addr, Count: 4, Every: 100 * time.Millisecond, Ask: visit},
		Clients{Name: "POST", Kind: Kept, Addr: addr, Count: 4, Every: 50 * time.Millisecond, Ask: post},
		Clients{Name: "HTTP/2", Kind: H2C, Addr: addr, Count: 4, Every: 50 * time.Millisecond, Ask: visit},
	)
	defer load.Stop()
	samples, slowest := n.swap(t, b, &version, length)
	load.Stop()
	counted, err := wrk.Stop()
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	crowd.end()
	each(idle, func(i int, r *bufio.Reader) { crowd.ask(i, question(i%services), r) })
	report(t, b, load, counted, crowd, took)
	t.Logf("%d tables in %v, slowest %v\n%s\n%s", version-1, took.Round(time.Second), slowest.Round(time.Millisecond), sampleHead, curve(samples))
	if length >= 2*time.Minute {
		flat(t, samples)
		if least := uint64(length.Seconds()*swaps*0.99) + 1; version < least {
			t.Errorf("%d tables, expected %d", version, least)
		}
	}
}

// swap replaces tables for a time. It gives what the balancer's process took meanwhile and the longest time until a
// table was confirmed.
func (n *town) swap(t *testing.T, b *remote.Balancer, version *uint64, length time.Duration) (samples []sample, slowest time.Duration) {
	t.Helper()
	began, pid := time.Now(), b.PID()
	end := time.After(length)
	tick := time.NewTicker(time.Second / swaps)
	defer tick.Stop()
	measure := time.NewTicker(max(length/120, time.Second))
	defer measure.Stop()
	for {
		select {
		case <-end:
			samples = append(samples, take(t, pid, time.Since(began)))
			n.settled(t, b)
			if b.PID() != pid {
				t.Errorf("the balancer died: process %d, then %d", pid, b.PID())
			}
			return samples, slowest
		case <-measure.C:
			samples = append(samples, take(t, pid, time.Since(began)))
		case <-tick.C:
			*version++
			n.move(*version)
			asked := time.Now()
			b.Apply(n.table(*version))
			slowest = max(slowest, time.Since(asked))
		}
	}
}

// settled waits until nothing is in flight at tasks that have left, and checks that all others are picked.
func (n *town) settled(t *testing.T, b *remote.Balancer) {
	t.Helper()
	deadline := time.After(timeLimit)
	for {
		st, left := b.Status(), 0
		for _, inFlight := range st.Drains {
			left += inFlight
		}
		if left == 0 {
			if len(st.Picks) != services*replicas {
				t.Errorf("%d tasks are picked, expected %d", len(st.Picks), services*replicas)
			}
			return
		}
		select {
		case <-b.Changed():
		case <-deadline:
			t.Fatalf("%d requests are in flight at tasks that have left", left)
		}
	}
}

// report prints what became of all requests and fails the test if one failed.
func report(t *testing.T, b *remote.Balancer, load *Load, wrk WrkResult, crowd *crowd, took time.Duration) {
	t.Helper()
	all := load.Total()
	total := all.Requests + wrk.Requests + int(crowd.asked.Load())
	var meter remote.Totals
	for deadline := time.Now().Add(timeLimit); ; time.Sleep(10 * time.Millisecond) { // a request is booked after its answer is written
		var err error
		if meter, err = b.Window("soak", shop); err != nil {
			t.Fatal(err)
		}
		if int(meter.Requests) >= total || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("%d requests in %v: the balancer counted %d, %d failed", total, took.Round(time.Second), meter.Requests, meter.Failed)
	for _, name := range load.Names() {
		s := load.Sum("", name)
		t.Logf("%-15s %8d requests, %d failed, p50 %v, p99 %v", name, s.Requests, s.Failed, s.Percentile(50).Round(10*time.Microsecond),
			s.Percentile(99).Round(10*time.Microsecond))
	}
	t.Logf("%-15s %s", "wrk", wrk)
	t.Logf("%-15s %8d requests, %d failed", "idle", crowd.asked.Load(), crowd.failed.Load())
	if failed := all.Failed + wrk.Failed() + int(crowd.failed.Load()) + int(meter.Failed); failed > 0 {
		t.Errorf("%d requests failed: %s", failed, strings.Join(append(all.Failures, crowd.first...), "\n"))
	}
	if late := crowd.late.Load(); late > 0 { // they were made anew: no request of theirs has failed by that
		t.Logf("%d idle connections were not asked in time: the machine has too much else to do", late)
	}
	if int(meter.Requests) < total {
		t.Errorf("the balancer counted %d requests of %d", meter.Requests, total)
	}
}

// curve gives at most 20 of the samples, a line each.
func curve(all []sample) string {
	var lines []string
	for i, s := range all {
		if i%max(1, len(all)/20) == 0 || i == len(all)-1 {
			lines = append(lines, s.String())
		}
	}
	return strings.Join(lines, "\n")
}

// flat compares the last quarter of the samples with the one before. The first half is for caches to fill, and for what
// the meters remember of each second: of a soak of 20 minutes it is the ten for which they remember it. Files go up and
// down by hundreds, as the clients' rounds of 8 s through the services and the tables' rounds of 10 s meet each 40 s.
func flat(t *testing.T, samples []sample) {
	t.Helper()
	quarter := len(samples) / 4
	before, filesBefore := mean(samples[2*quarter : 3*quarter])
	after, filesAfter := mean(samples[3*quarter:])
	t.Logf("PSS %.1f MiB in the third quarter, %.1f MiB in the last; %.0f files are open, and %.0f", before/1024, after/1024, filesBefore, filesAfter)
	if after > before*1.05 {
		t.Errorf("memory grew by %.1f %%", 100*(after/before-1))
	}
	if filesAfter > filesBefore+200 {
		t.Errorf("%.0f files are open, after %.0f", filesAfter, filesBefore)
	}
}
