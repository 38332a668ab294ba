package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/e2e/soak"
)

// The phases of the load.
const (
	atRest = "at rest"
	during = "during"
)

// proof is an app that is deployed, taken back, killed beneath and upgraded beneath, under load.
type proof struct {
	*Node
	t       *testing.T
	api     *client.Client
	ref     api.EnvRef
	port    int
	version int           // that was deployed last
	monitor time.Duration // after each swap; 0 is the default
	load    *soak.Load

	updates, rollbacks, kills, upgrades int
	pushed                              []string // the two programs, of which one is in use
	receipts                            api.Receipt
	partial                             int // receipts that say that requests are missing
}

// TestBalancerDropsNothing rolls releases out and back, kills ikada and replaces it and its balancer by another version,
// all under load from wrk and from clients that check every reply: no request may fail. IKADA_ROUNDS=50 makes 50 updates,
// 50 rollbacks, 20 kills and 10 upgrades of it, each deployment watched for as long as by default, in which the
// latencies too must stay within their bound.
func TestBalancerDropsNothing(t *testing.T) {
	n := rounds(t, 5)
	kills, upgrades := max(3, n*2/5), max(2, n/5)
	p := newProof(t)
	if n < 50 {
		p.monitor = time.Second / 4
	}
	meter := p.meterBalancer(t, p.ref)
	p.startLoad()

	rest := p.wrk()
	p.rest(max(3*time.Second, time.Duration(n)*time.Second/2))
	resting := p.stopWrk(rest)
	busy := p.wrk()
	began := time.Now()
	for i := range n {
		killed, upgraded := (i+1)*kills/n-i*kills/n, (i+1)*upgrades/n-i*upgrades/n
		p.round(i, killed, upgraded)
	}
	took := time.Since(began)
	counted := p.stopWrk(busy)
	p.load.Stop()
	p.untilRetired(meter)
	meter.halt()
	p.report(meter, resting, counted, took)
	if p.updates != n || p.rollbacks != n || p.kills != kills || p.upgrades != upgrades {
		t.Errorf("%d updates, %d rollbacks, %d kills, %d upgrades; expected %d, %d, %d, %d", p.updates, p.rollbacks, p.kills, p.upgrades, n, n, kills, upgrades)
	}
	if rest, busy := p.load.Sum(atRest, "").Percentile(99), p.load.Sum(during, "").Percentile(99); n >= 50 && busy > 2*rest {
		t.Errorf("p99 is %v during, %v at rest: more than twice that", busy, rest)
	}
}

// newProof starts a node with a program of its own and deploys the first release.
func newProof(t *testing.T) *proof {
	t.Helper()
	dir := t.TempDir()
	p := &proof{t: t, ref: api.EnvRef{App: "proof", Env: api.DefaultEnv}, pushed: []string{filepath.Join(dir, "this"), filepath.Join(dir, "next")}}
	if out, err := exec.Command("cp", program, p.pushed[0]).CombinedOutput(); err != nil {
		t.Fatalf("copy program: %v\n%s", err, out)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -X main.version=next", "-o", p.pushed[1], "./cmd/ikada")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build program of another version: %v\n%s", err, out)
	}
	used := filepath.Join(dir, "ikada")
	if err := os.Link(p.pushed[0], used); err != nil {
		t.Fatal(err)
	}
	p.Node = newNode(t, used).WithImages(t)
	p.api, p.port = p.Client(t), nextPort()
	p.update(nil)
	return p
}

// spec is the app: one service, at a published port and at a route of the shared port.
func (p *proof) spec() api.AppSpec {
	second := api.Duration(time.Second)
	return api.AppSpec{App: p.ref.App, Env: p.ref.Env, Services: map[string]api.ServiceSpec{"web": {
		Image: p.Listen + "/app:v1", Replicas: 2, Env: map[string]string{"VERSION": fmt.Sprint("r", p.version)},
		Ports:  []api.PortSpec{{HostIP: "127.0.0.1", Published: uint16(p.port), Target: 8080}},
		Routes: []api.RouteSpec{{Host: "proof.example", Port: 8080}},
		Health: &api.HealthSpec{HTTP: &api.HTTPGet{Path: "/healthz"}, Interval: second, Timeout: 5 * second, Retries: 3, StartPeriod: 30 * second},
		Update: api.Strategy{Monitor: api.Duration(p.monitor)},
	}}}
}

// startLoad starts the clients: 650 requests a second.
func (p *proof) startLoad() {
	const pace = 100 * time.Millisecond
	published := fmt.Sprintf("127.0.0.1:%d", p.port)
	version := func(*rand.Rand) *soak.Question {
		return &soak.Question{Host: "proof.example", Path: "/", Check: func(reply []byte) error {
			if n, err := strconv.Atoi(strings.TrimPrefix(string(reply), "r")); err != nil || n < 1 {
				return fmt.Errorf("reply %.100q is none of a release", reply)
			}
			return nil
		}}
	}
	echo := func(rng *rand.Rand) *soak.Question {
		q := soak.Echo(rng)
		q.Host = "proof.example"
		return q
	}
	either := func(rng *rand.Rand) *soak.Question {
		if rng.IntN(3) == 0 {
			return echo(rng)
		}
		return version(rng)
	}
	p.load = soak.Start(
		soak.Clients{Name: "kept", Kind: soak.Kept, Addr: published, Count: 40, Every: pace, Ask: version},
		soak.Clients{Name: "kept, shared port", Kind: soak.Kept, Addr: p.HTTP, Count: 5, Every: pace, Ask: version},
		soak.Clients{Name: "new connection", Kind: soak.Fresh, Addr: published, Count: 10, Every: pace, Ask: version},
		soak.Clients{Name: "POST", Kind: soak.Kept, Addr: published, Count: 5, Every: pace, Ask: echo},
		soak.Clients{Name: "HTTP/2", Kind: soak.H2C, Addr: p.HTTP, Count: 5, Every: pace, Ask: either},
	)
	p.t.Cleanup(p.load.Stop)
}

// wrk starts 64 connections, each with a pause between its requests: at full speed it would take the whole machine, and
// latencies tell nothing of a balancer that waits for a core.
func (p *proof) wrk() *soak.Wrk {
	p.t.Helper()
	w, err := soak.StartWrk(p.t.TempDir(), soak.WrkConfig{URL: fmt.Sprintf("http://127.0.0.1:%d/", p.port), Conns: 64, Pause: wrkPause(p.t)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _, _ = w.Stop() }) // what it says is asked for where it matters
	return w
}

// wrkPause is 40 ms, or what IKADA_WRK_PAUSE says; "0s" is full speed.
func wrkPause(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("IKADA_WRK_PAUSE")
	if s == "" {
		return 40 * time.Millisecond
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("IKADA_WRK_PAUSE: %v", err)
	}
	return d
}

func (p *proof) stopWrk(w *soak.Wrk) soak.WrkResult {
	p.t.Helper()
	r, err := w.Stop()
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// rest lets the load meet a node where nothing happens.
func (p *proof) rest(d time.Duration) {
	p.load.Phase(atRest)
	time.Sleep(d) // it is the time that is measured
	p.load.Phase(during)
}

// round deploys a release and takes it back. ikada is killed or replaced in the middle of a deployment, or between two.
func (p *proof) round(i, kills, upgrades int) {
	p.t.Helper()
	var inUpdate, inRollback func()
	if kills > 0 && i%2 == 0 {
		inUpdate = p.kill
		kills--
	}
	if upgrades > 0 && i%4 > 1 {
		inRollback = p.upgrade
		upgrades--
	}
	p.update(inUpdate)
	for range kills {
		p.kill()
	}
	p.rollback(inRollback)
	for range upgrades {
		p.upgrade()
	}
}

// update deploys the next release; meanwhile is done at some moment of it.
func (p *proof) update(meanwhile func()) {
	p.t.Helper()
	p.version++
	r, err := p.api.Deploy(p.t.Context(), api.DeployRequest{Spec: p.spec()})
	if err != nil {
		p.t.Fatalf("deploy: %v", err)
	}
	if p.follow(r.Deployment, meanwhile) && p.version > 1 {
		p.updates++
	}
}

// rollback goes back to the release before.
func (p *proof) rollback(meanwhile func()) {
	p.t.Helper()
	r, err := p.api.Rollback(p.t.Context(), p.ref, api.RollbackRequest{})
	if err != nil {
		p.t.Fatalf("roll back: %v", err)
	}
	if p.follow(r.Deployment, meanwhile) {
		p.rollbacks++
	}
}

// follow waits for a deployment's end and adds its receipt up.
func (p *proof) follow(d *api.Deployment, meanwhile func()) bool {
	p.t.Helper()
	if meanwhile != nil {
		time.Sleep(rand.N(600 * time.Millisecond)) // random on purpose: any moment must do
		meanwhile()
	}
	end, err := p.api.WatchDeployment(p.t.Context(), p.ref, d.Number, nil)
	if err != nil {
		p.t.Fatalf("watch deployment %d: %v", d.Number, err)
	}
	if end.State != api.DeploySucceeded {
		p.t.Errorf("deployment %d ended %s: %s", d.Number, end.State, end.Reason)
		return false
	}
	p.receipts.Requests += end.Receipt.Requests
	p.receipts.Failed += end.Receipt.Failed
	p.receipts.LongestWait = max(p.receipts.LongestWait, end.Receipt.LongestWait)
	if end.Receipt.Partial != "" {
		p.partial++
	}
	return true
}

// kill ends ikada as a crash does, and starts it again.
func (p *proof) kill() {
	p.t.Helper()
	p.kills++
	p.Kill(p.t)
	p.Start(p.t)
}

// upgrade puts the other version in the program's place and starts ikada anew, as a service manager does. The balancer's
// process is replaced with it.
func (p *proof) upgrade() {
	p.t.Helper()
	before := p.balancerPID(p.t)
	p.upgrades++
	next := p.binary + ".new"
	if err := errors.Join(os.Link(p.pushed[p.upgrades%2], next), os.Rename(next, p.binary)); err != nil {
		p.t.Fatal(err)
	}
	p.end(p.t, syscall.SIGTERM)
	p.Start(p.t)
	Until(p.t, startWait, func() string {
		if pid := p.balancerPID(p.t); pid == 0 || pid == before {
			return fmt.Sprintf("the balancer's process is still %d", pid)
		}
		return ""
	})
}

// untilRetired waits for the processes that were replaced: with the last connection that they have they end.
func (p *proof) untilRetired(m *balancerMeter) {
	p.t.Helper()
	Until(p.t, startWait, func() string { return strings.Join(m.retiring(), " ") })
}

// report prints the figures and fails the test if a request failed.
func (p *proof) report(m *balancerMeter, resting, busy soak.WrkResult, took time.Duration) {
	t := p.t
	t.Helper()
	all, wrk := p.load.Total(), resting.Requests+busy.Requests
	metered, processes := m.sum()
	said := p.balancerSaid(t)
	t.Logf("%d updates, %d rollbacks, %d kill -9 of ikada, %d upgrades of ikada and its balancer in %v", p.updates, p.rollbacks, p.kills, p.upgrades, took.Round(time.Second))
	t.Logf("%-20s %9s %7s", "", "requests", "failed")
	t.Logf("%-20s %9d %7d", "checking clients", all.Requests, all.Failed)
	t.Logf("%-20s %9d %7d", "wrk", wrk, resting.Failed()+busy.Failed())
	t.Logf("%-20s %9d %7d  as %d processes of the balancer say; longest wait %v", "meter", metered.Requests, metered.Failed, processes, metered.Longest.Round(time.Millisecond))
	t.Logf("%-20s %9d %7d  in %d deployments, %d of them restarted in the middle; longest wait %v", "receipts", p.receipts.Requests, p.receipts.Failed,
		p.updates+p.rollbacks, p.partial, p.receipts.LongestWait.Std().Round(time.Millisecond))
	t.Logf("%-20s %17s %27s", "latency", atRest, during)
	t.Logf("%-20s %8s %8s %8s %8s %8s %8s %8s", "", "requests", "p50", "p99", "requests", "p50", "p99", "p99.9")
	for _, name := range append(p.load.Names(), "") {
		rest, busy := p.load.Sum(atRest, name), p.load.Sum(during, name)
		if name == "" {
			name = "all"
		}
		t.Logf("%-20s %8d %8s %8s %8d %8s %8s %8s", name, rest.Requests, millis(rest.Percentile(50)), millis(rest.Percentile(99)),
			busy.Requests, millis(busy.Percentile(50)), millis(busy.Percentile(99)), millis(busy.Percentile(99.9)))
	}
	t.Logf("wrk %s: %s", atRest, resting)
	t.Logf("wrk %s: %s", during, busy)
	if failed := all.Failed + resting.Failed() + busy.Failed(); failed > 0 || metered.Failed > 0 || p.receipts.Failed > 0 || len(said) > 0 {
		t.Errorf("requests failed:\n%s\n%s", strings.Join(all.Failures, "\n"), strings.Join(said[:min(len(said), 20)], "\n"))
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
