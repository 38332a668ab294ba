package build

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh/agent"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func TestSessionRefusesWhatIsNoSession(t *testing.T) {
	r := newRig(t, nil)
	for want, header := range map[string]http.Header{
		"":               {},
		"upgrade to h2c": {"Connection": {"Upgrade"}, "Upgrade": {"smoke-signals"}, "X-Docker-Expose-Session-Uuid": {"x"}},
	} {
		req, err := http.NewRequest(http.MethodPost, r.url+client.Prefix+"/builds/session", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(said), want) {
			t.Errorf("%v: %s: %s, %v", header, res.Status, said, err)
		}
		res.Body.Close()
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	r := newRig(t, nil)
	dir := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", "big": strings.Repeat("x", 8<<20), "small": "1"})
	sent := func(b built) int64 {
		b.ok(t)
		var most int64
		for _, e := range b.events {
			if strings.HasPrefix(e.Log, "transferring context") {
				most = max(most, e.Current)
			}
		}
		return most
	}
	if n := sent(r.build(t, dir, api.BuildSpec{})); n < 8<<20 {
		t.Errorf("first build: %d bytes were sent", n)
	}
	put(t, dir, "small", "2")
	if n := sent(r.build(t, dir, api.BuildSpec{})); n == 0 || n > 4<<10 {
		t.Errorf("after a change of one byte: %d bytes were sent", n)
	}
}

func TestSSHAgentAndAllowedHostNetwork(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AllowHostNetwork = true; c.HostGateway = "192.0.2.1" })
	r.busybox(t)
	socket := filepath.Join(r.node.dir, "agent-"+r.cfg.Namespace)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(agent.NewKeyring(), conn) }() // ends with its connection
		}
	}()
	dir := write(t, map[string]string{"Dockerfile": "FROM ikada.local/busybox:1\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo yes > /agent\n" +
		"RUN --network=host readlink /proc/self/ns/net > /netns; cat /etc/hosts > /hosts\n"})
	spec := api.BuildSpec{SSH: []string{"default=" + socket}, ExtraHosts: map[string]string{"up": "host-gateway"}}
	if b := r.build(t, dir, spec); !api.IsKind(b.err, api.Invalid) {
		t.Errorf("a step took the host's network unasked: %v", b.err)
	}
	spec.Network = "host"
	image := r.build(t, dir, spec).ok(t)
	if got := r.file(t, image, "agent"); got != "yes\n" {
		t.Errorf("agent = %q", got)
	}
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(r.file(t, image, "netns")); got != host {
		t.Errorf("the step ran in %s, the host's network is %s", got, host)
	}
	if got := r.file(t, image, "hosts"); !strings.Contains(got, "192.0.2.1\tup") {
		t.Errorf("hosts = %q", got)
	}
}

func TestLeftoverStepsAreRemoved(t *testing.T) {
	r := newRig(t, nil)
	r.busybox(t)
	img, err := r.client.GetImage(r.ctx(), "ikada.local/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	run := func(id, cgroup string) containerd.Container {
		c, err := r.client.NewContainer(r.ctx(), id,
			containerd.WithNewSnapshot(id, img),
			containerd.WithNewSpec(oci.WithImageConfigArgs(img, []string{"/bin/sleep", "600"}), oci.WithCgroup(cgroup)),
			containerd.WithRuntime(r.node.shim, runtimeOf(r.cfg).Options))
		if err != nil {
			t.Fatal(err)
		}
		task, err := c.NewTask(r.ctx(), cio.NullIO)
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Start(r.ctx()); err != nil {
			t.Fatal(err)
		}
		return c
	}
	parent := r.cfg.CgroupParent
	run("step", parent+"/buildkit/step")
	other := run("task", parent+"-tasks/task")
	t.Cleanup(func() {
		if err := removeStep(r.ctx(), other); err != nil {
			t.Error(err)
		}
		for _, c := range []string{"cpu", "memory", "pids", "cpuacct", "cpuset", "devices", "freezer", "blkio", "systemd", "unified", ""} {
			removeCgroup(filepath.Join(cgroupMount, c, parent+"-tasks"))
		}
	})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	if _, err := r.DiskUsage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.LoadContainer(r.ctx(), "step"); !errdefs.IsNotFound(err) {
		t.Errorf("the step that was left: %v, want not found", err)
	}
	task, err := other.Task(r.ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := task.Status(r.ctx()); err != nil || s.Status != containerd.Running {
		t.Errorf("the container that is no step: %v, %v", s.Status, err)
	}
}
