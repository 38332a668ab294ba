package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/build/session"
)

// aMoment is how soon a build that was stopped must have ended; far less than what its step would take.
const aMoment = time.Minute

func TestFailedStepSaysWhereWhyAndWhatItPrinted(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\n\nRUN echo compiling; echo oh no >&2; exit 3\n"})
	b := r.build(t, dir, api.BuildSpec{})
	if !api.IsKind(b.err, api.Invalid) {
		t.Errorf("kind = %s", api.KindOf(b.err))
	}
	for _, want := range []string{"RUN echo compiling", "Dockerfile line 3", "exit code 3", "\n  compiling", "\n  oh no"} {
		if !strings.Contains(b.err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, b.err)
		}
	}
	if last := b.events[len(b.events)-1]; last.Error == nil || last.Error.Message != b.err.Error() {
		t.Errorf("last event = %+v", last)
	}
	if _, err := r.client.GetImage(r.ctx(), "ikada.local/shop/web:latest-production"); err == nil {
		t.Error("a failed build left an image")
	}
}

func TestDockerfileErrors(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	for name, c := range map[string]struct {
		dockerfile string
		spec       api.BuildSpec
		kind       api.Kind
		want       string
	}{
		"unknown instruction": {"FROM scratch\nFRM x\n", api.BuildSpec{}, api.Invalid, "Dockerfile line 2"},
		"missing file":        {"FROM scratch\nCOPY nothing /\n", api.BuildSpec{}, api.Invalid, "Dockerfile line 2"},
		"missing target":      {"FROM scratch\n", api.BuildSpec{Target: "gone"}, api.Invalid, "gone"},
		"missing image":       {"FROM ikada.local/none:1\n", api.BuildSpec{}, api.NotFound, "ikada.local/none:1"},
		"dead registry":       {"FROM 127.0.0.1:1/x:1\n", api.BuildSpec{}, api.Unavailable, "127.0.0.1:1"},
		"insecure":            {"FROM ikada.local/busybox:1\nRUN --security=insecure true\n", api.BuildSpec{}, api.Invalid, "security.insecure"},
		"host network":        {"FROM ikada.local/busybox:1\nRUN --network=host true\n", api.BuildSpec{}, api.Invalid, "network.host"},
		"foreign syntax":      {"# syntax=evil/frontend:1\nFROM scratch\n", api.BuildSpec{}, api.Invalid, "evil/frontend"},
		"foreign syntax arg":  {"FROM scratch\n", api.BuildSpec{Args: map[string]string{"BUILDKIT_SYNTAX": "evil/frontend:1"}}, api.Invalid, "evil/frontend"},
	} {
		t.Run(name, func(t *testing.T) {
			b := r.build(t, write(t, map[string]string{"Dockerfile": c.dockerfile}), c.spec)
			if b.err == nil || !api.IsKind(b.err, c.kind) || !strings.Contains(b.err.Error(), c.want) {
				t.Errorf("got %s: %v; want %s with %q", api.KindOf(b.err), b.err, c.kind, c.want)
			}
		})
	}
}

func TestRequestErrors(t *testing.T) {
	cfg := Config{HostGateway: "", MaxParallel: 1}
	for name, c := range map[string]struct {
		spec api.BuildSpec
		kind api.Kind
		want string
	}{
		"platform":     {api.BuildSpec{Platform: "linux/s390x"}, api.Invalid, "build.platform"},
		"network":      {api.BuildSpec{Network: "mine"}, api.Invalid, "build.network"},
		"host network": {api.BuildSpec{Network: "host"}, api.Invalid, "build.network"},
		"hosts":        {api.BuildSpec{ExtraHosts: map[string]string{"a": "nowhere"}}, api.Invalid, "build.extra_hosts.a"},
		"gateway":      {api.BuildSpec{ExtraHosts: map[string]string{"a": "host-gateway"}}, api.Invalid, "build.extra_hosts.a"},
		"injected":     {api.BuildSpec{ExtraHosts: map[string]string{"a,b=1.1.1.1": "1.1.1.1"}}, api.Invalid, "build.extra_hosts"},
		"layout":       {api.BuildSpec{Contexts: map[string]string{"a": "oci-layout://x"}}, api.Invalid, "build.additional_contexts.a"},
		"service":      {api.BuildSpec{Contexts: map[string]string{"a": "service:"}}, api.Invalid, "build.additional_contexts.a"},
		"arg":          {api.BuildSpec{Args: map[string]string{"a b": "c"}}, api.Invalid, "build.args"},
		"shm":          {api.BuildSpec{ShmSize: -1}, api.Invalid, "build.shm_size"},
	} {
		_, err := planOf(api.BuildRequest{EnvRef: api.EnvRef{App: "a", Env: "e"}, Service: "s", Session: "x", Spec: c.spec}, cfg)
		if !api.IsKind(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %s: %v; want %s with %q", name, api.KindOf(err), err, c.kind, c.want)
		}
	}
	p, err := planOf(api.BuildRequest{EnvRef: api.EnvRef{App: "a", Env: "e"}, Service: "s", Session: "x", Spec: api.BuildSpec{
		Args: map[string]string{"BUILDKIT_CACHE_MOUNT_NS": "other"},
	}}, cfg)
	if err != nil || p.attrs["build-arg:BUILDKIT_CACHE_MOUNT_NS"] != "a" {
		t.Errorf("a build took another app's cache mounts: %+v, %v", p, err)
	}
	if _, err := planOf(api.BuildRequest{Service: "s", Session: "x"}, cfg); !api.IsKind(err, api.Invalid) {
		t.Errorf("no app: %v", err)
	}
	if _, err := New(t.Context(), Config{Root: "relative"}); !api.IsKind(err, api.Invalid) {
		t.Errorf("relative root: %v", err)
	}
}

func TestOutOfMemoryIsNamed(t *testing.T) {
	const limit = 96 << 20
	r := newRig(t, func(c *Config) { c.MemoryBytes = limit })
	r.busybox(t)
	for name, run := range map[string]string{
		"itself":          "exec tail /dev/zero",
		"a child":         "tail /dev/zero || exit 2",
		"a child in pipe": "tail /dev/zero | cat; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			b := r.build(t, write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN " + run + "\n"}), api.BuildSpec{})
			if !api.IsKind(b.err, api.Exhausted) {
				t.Fatalf("got %s: %v", api.KindOf(b.err), b.err)
			}
			for _, want := range []string{"the build ran out of memory (limit 96MiB)", "Dockerfile line 2", "tail /dev/zero"} {
				if !strings.Contains(b.err.Error(), want) {
					t.Errorf("error lacks %q: %v", want, b.err)
				}
			}
		})
	}
	plain := r.build(t, write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN exit 137\n"}), api.BuildSpec{})
	if !api.IsKind(plain.err, api.Invalid) || !strings.Contains(plain.err.Error(), "exit code 137 (killed)") {
		t.Errorf("killed by hand: %s: %v", api.KindOf(plain.err), plain.err)
	}
}

func TestStepsLiveInTheCage(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MemoryBytes = 128 << 20 })
	r.busybox(t)
	image := r.build(t, write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN cat /proc/self/cgroup > /cgroup\n"}), api.BuildSpec{}).ok(t)
	if got := r.file(t, image, "cgroup"); !strings.Contains(got, r.cfg.CgroupParent+"/buildkit/") {
		t.Errorf("the step's cgroups:\n%s", got)
	}
	if b, err := os.ReadFile(filepath.Join(cgroupMount, "memory", r.cfg.CgroupParent, "memory.limit_in_bytes")); err == nil && strings.TrimSpace(string(b)) != fmt.Sprint(128<<20) {
		t.Errorf("limit = %s", b)
	}
}

// sleeper builds an image whose step says "asleep" and then sleeps for long.
func sleeper(t *testing.T) string {
	return write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN echo asleep; sleep 600\n"})
}

// asleep closes its channel when the step says so.
func asleep() (<-chan struct{}, func(api.BuildEvent)) {
	c := make(chan struct{})
	done := false
	return c, func(e api.BuildEvent) {
		if e.Log == "asleep" && !done {
			done = true
			close(c)
		}
	}
}

func TestCancelEndsABuild(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started, watch := asleep()
	go func() { <-started; cancel() }()
	began := time.Now()
	b := r.buildAs(ctx, t, "web", sleeper(t), api.BuildSpec{}, watch)
	if !api.IsKind(b.err, api.Unavailable) || !errors.Is(b.err, context.Canceled) {
		t.Errorf("cancelled build: %s: %v", api.KindOf(b.err), b.err)
	}
	if took := time.Since(began); took > aMoment {
		t.Errorf("the build ended %s after it began", took)
	}
	r.nothingRuns(t)

	short, cancel2 := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel2()
	late := r.buildAs(short, t, "web", sleeper(t), api.BuildSpec{}, nil)
	if !api.IsKind(late.err, api.Timeout) {
		t.Errorf("build past its deadline: %s: %v", api.KindOf(late.err), late.err)
	}
}

func (r *rig) nothingRuns(t *testing.T) {
	t.Helper()
	left, err := r.client.Containers(r.ctx())
	if err != nil || len(left) != 0 {
		t.Errorf("containers left: %v, %v", left, err)
	}
}

func TestClientDisconnectEndsABuild(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	s, err := session.Open(t.Context(), r.dial, session.Options{Context: sleeper(t), DockerConfig: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	started, watch := asleep()
	go func() { <-started; s.Close() }()
	began := time.Now()
	_, err = r.Build(t.Context(), api.BuildRequest{EnvRef: api.EnvRef{App: "a", Env: "e"}, Service: "s", Session: s.ID()}, watch)
	if !api.IsKind(err, api.Unavailable) || !strings.Contains(err.Error(), "the client disconnected") {
		t.Errorf("build without its client: %s: %v", api.KindOf(err), err)
	}
	if took := time.Since(began); took > aMoment {
		t.Errorf("the build ended %s after it began", took)
	}
	r.nothingRuns(t)
}

func TestBuildsWaitTheirTurn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxParallel = 1 })
	r.busybox(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started, watch := asleep()
	first := make(chan built, 1)
	go func() { first <- r.buildAs(ctx, t, "slow", sleeper(t), api.BuildSpec{}, watch) }()
	<-started

	dir := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": ""})
	second := r.buildAs(t.Context(), t, "web", dir, api.BuildSpec{}, func(e api.BuildEvent) {
		if e.Step == "waiting for other builds" && e.Started {
			cancel() // makes room
		}
	})
	second.ok(t)
	if e := second.events[0]; e.Step != "waiting for other builds" || e.Log != "builds running: 1, waiting before this one: 0" {
		t.Errorf("first event = %+v", e)
	}
	if b := <-first; b.err == nil {
		t.Error("the first build was not cancelled")
	}
}

func TestContainerdRestart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: containers, mounts and cgroups")
	}
	n, err := newNode()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.remove)
	r := rigOn(t, n, nil)
	r.busybox(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN echo ok > /ok\n"})
	before := r.build(t, dir, api.BuildSpec{}).ok(t)

	restart := func() {
		n.kill()
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	if after := r.build(t, dir, api.BuildSpec{}).ok(t); after != before {
		t.Errorf("after a restart the same build gave %s, before %s", after, before)
	}

	started, watch := asleep()
	go func() { <-started; n.kill() }()
	began := time.Now()
	b := r.buildAs(t.Context(), t, "web", sleeper(t), api.BuildSpec{}, watch)
	if !api.IsKind(b.err, api.Unavailable) || !strings.Contains(b.err.Error(), "containerd was restarted") {
		t.Errorf("build whose containerd died: %s: %v", api.KindOf(b.err), b.err)
	}
	if took := time.Since(began); took > 2*aMoment {
		t.Errorf("the build ended %s after it began", took)
	}
	down := r.build(t, dir, api.BuildSpec{})
	if !api.IsKind(down.err, api.Unavailable) {
		t.Errorf("build with no containerd: %s: %v", api.KindOf(down.err), down.err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if after := r.build(t, dir, api.BuildSpec{}).ok(t); after != before {
		t.Errorf("after the second restart the same build gave %s, before %s", after, before)
	}
}

func TestBuilderReopenKeepsItsCache(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN cat /proc/sys/kernel/random/uuid > /id\n"})
	before := r.build(t, dir, api.BuildSpec{}).ok(t)
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := r.DiskUsage(t.Context()); !api.IsKind(err, api.Unavailable) {
		t.Errorf("use of a closed builder: %v", err)
	}
	r.open(t)
	if after := r.build(t, dir, api.BuildSpec{}).ok(t); after != before {
		t.Errorf("a new Builder on the same cache gave %s, before %s", after, before)
	}
}
