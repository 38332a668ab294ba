package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

func command(args []string) api.ServiceSpec { return api.ServiceSpec{Command: args} }

// output runs a container to its end and gives what it printed.
func (in *instance) output(t *testing.T, id string, spec api.ServiceSpec, mounts ...agent.BindMount) string {
	t.Helper()
	exits := in.runtime.Exits(t.Context())
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: id, Image: in.image, Spec: spec, Host: id, Mounts: mounts})
	runtimetest.WaitExit(t, exits, id)
	var b strings.Builder
	for _, rec := range runtimetest.ReadLog(t, in.runtime, id, agent.LogQuery{Tail: -1}) {
		b.WriteString(rec.Text + "\n")
	}
	return b.String()
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

func TestConfinement(t *testing.T) {
	in := newInstance(t, nil)
	status := []string{"grep", "-E", "^(CapEff|CapBnd|NoNewPrivs|Seccomp):", "/proc/self/status"}
	contains(t, in.output(t, "default", command(status)),
		"CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "NoNewPrivs:\t1", "Seccomp:\t2")

	spec := command(status)
	spec.CapDrop, spec.CapAdd = []string{"ALL"}, []string{"NET_BIND_SERVICE"}
	contains(t, in.output(t, "dropped", spec), "CapEff:\t0000000000000400", "CapBnd:\t0000000000000400")

	spec = command(status)
	spec.User, spec.SecurityOpt = "web", []string{"no-new-privileges:false", "seccomp=unconfined"}
	contains(t, in.output(t, "web", spec), "CapEff:\t0000000000000000", "NoNewPrivs:\t0", "Seccomp:\t0")

	spec = command([]string{"sh", "-c", "id; touch /x || echo refused; touch /data/y && echo wrote; cat /proc/kcore | wc -c"})
	spec.User, spec.GroupAdd, spec.ReadOnly = "web", []string{"5000"}, true
	spec.Mounts = []api.Mount{{Type: api.MountTmpfs, Target: "/data", Size: 1 << 20, Mode: 0o777}}
	contains(t, in.output(t, "readonly", spec), "uid=1000(web) gid=1001(web) groups=50(staff),1001(web),5000", "refused", "wrote")

	spec = command([]string{"sh", "-c", "env; pwd; cat /proc/sys/kernel/msgmax; grep 'open files' /proc/self/limits"})
	spec.Env, spec.WorkingDir = map[string]string{"COLOR": "blue"}, "/made/here"
	spec.Sysctls = map[string]string{"kernel.msgmax": "12345", "net.ipv4.ip_forward": "0"}
	spec.Ulimits = map[string]api.Ulimit{"nofile": {Soft: 100, Hard: 200}}
	contains(t, in.output(t, "settings", spec), "COLOR=blue", "HOSTNAME=settings", "PATH=/bin\n", "/made/here\n", "12345\n", "100                  200")
}

func TestLimits(t *testing.T) {
	in := newInstance(t, nil)
	spec := command(in.subject().Sleep())
	spec.Resources = api.Resources{MemoryBytes: 64 << 20, CPUMillis: 250, PIDs: 33, CPUShares: 512, CPUSet: "0"}
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "limits", Image: in.image, Spec: spec})
	files := map[string]string{
		"memory/memory.limit_in_bytes": "67108864", "cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.shares": "512",
		"pids/pids.max": "33", "cpuset/cpuset.cpus": "0",
	}
	if in.runtime.host.cgroup2 {
		files = map[string]string{"memory.max": "67108864", "cpu.max": "25000 100000", "pids.max": "33", "cpuset.cpus": "0"}
	}
	for name, want := range files {
		controller, file := filepath.Split(name)
		path := filepath.Join("/sys/fs/cgroup", controller, in.cfg.CgroupPath("tasks"), "limits", file)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		} else if got := strings.TrimSpace(string(b)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestOOM(t *testing.T) {
	in := newInstance(t, nil)
	exits := in.runtime.Exits(t.Context())
	spec := command([]string{"sh", "-c", "yes | head -c 100000000 | sh -c 'x=$(cat); echo ${#x}'; echo survived; exit 4"})
	spec.Resources.MemoryBytes = 16 << 20
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "child", Image: in.image, Spec: spec})
	if e := runtimetest.WaitExit(t, exits, "child"); !e.OOM || e.Code == nil || *e.Code != 4 {
		t.Errorf("exit is %+v, want code 4 and OOM, since a child was killed", e)
	}
	spec.Command = []string{"sh", "-c", "x=$(yes | head -c 100000000); echo ${#x}"}
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "init", Image: in.image, Spec: spec})
	if e := runtimetest.WaitExit(t, exits, "init"); !e.OOM {
		t.Errorf("exit is %+v, want OOM", e)
	}
}

func TestVolumesAreFilled(t *testing.T) {
	in := newInstance(t, nil)
	fresh, used := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "mine"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := in.output(t, "fill", command([]string{"sh", "-c", "stat -c '%n %u:%g %a' /data/*; ls /used; touch /used/x || echo refused"}),
		agent.BindMount{Source: fresh, Target: "/data", FillFrom: true},
		agent.BindMount{Source: used, Target: "/used", FillFrom: true, ReadOnly: true})
	contains(t, got, "/data/seed 1000:1001 640", "mine", "refused")
}

func TestInit(t *testing.T) {
	in := newInstance(t, nil)
	spec := command([]string{"sh", "-c", "trap 'exit 6' TERM; ps; echo up; while :; do sleep 0.05; done"})
	spec.Init = true
	exits := in.runtime.Exits(t.Context())
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "init", Image: in.image, Spec: spec})
	waitFor(t, in, "init", "up")
	if err := in.runtime.Signal(t.Context(), "init", "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	if e := runtimetest.WaitExit(t, exits, "init"); e.Code == nil || *e.Code != 6 {
		t.Errorf("exit is %+v, want code 6", e)
	}
	var all []string
	for _, rec := range runtimetest.ReadLog(t, in.runtime, "init", agent.LogQuery{Tail: -1}) {
		all = append(all, rec.Text)
	}
	contains(t, strings.Join(all, "\n"), initTarget+" init")
}

func TestStartErrors(t *testing.T) {
	in := newInstance(t, nil)
	for name, spec := range map[string]api.ServiceSpec{
		"missing":  command([]string{"/no/such/program"}),
		"user":     {Command: []string{"id"}, User: "nobody-here"},
		"cap":      {Command: []string{"id"}, CapAdd: []string{"FLY"}},
		"ulimit":   {Command: []string{"id"}, Ulimits: map[string]api.Ulimit{"wings": {}}},
		"security": {Command: []string{"id"}, SecurityOpt: []string{"seccomp=mine.json"}},
		"nothing":  {},
	} {
		err := in.runtime.Create(t.Context(), agent.Container{ID: name, Image: in.image, Spec: spec})
		if !api.IsKind(err, api.Invalid) {
			t.Errorf("%s: %v, want kind invalid", name, err)
		}
	}
	if states, err := in.runtime.List(t.Context()); err != nil || len(states) != 0 {
		t.Errorf("left behind: %+v, %v", states, err)
	}
	if left := shims(in.cfg); len(left) != 0 {
		t.Errorf("shims left: %v", left)
	}
}
