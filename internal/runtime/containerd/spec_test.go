package containerd

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

func TestProcessArgs(t *testing.T) {
	image := api.ImageConfig{Entrypoint: []string{"run"}, Command: []string{"serve"}}
	for name, c := range map[string]struct {
		spec api.ServiceSpec
		want []string
	}{
		"the image's":               {api.ServiceSpec{}, []string{"run", "serve"}},
		"a command":                 {api.ServiceSpec{Command: []string{"test"}}, []string{"run", "test"}},
		"an empty command":          {api.ServiceSpec{Command: []string{}}, []string{"run"}},
		"an entrypoint":             {api.ServiceSpec{Entrypoint: []string{"sh"}}, []string{"sh"}},
		"entrypoint and command":    {api.ServiceSpec{Entrypoint: []string{"sh"}, Command: []string{"-c", "x"}}, []string{"sh", "-c", "x"}},
		"an entrypoint taken away":  {api.ServiceSpec{Entrypoint: []string{}, Command: []string{"x"}}, []string{"x"}},
		"an entrypoint and nothing": {api.ServiceSpec{Entrypoint: []string{}}, nil},
	} {
		got, err := processArgs(c.spec, image)
		if (err != nil) != (c.want == nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestDegradedHost(t *testing.T) {
	weak := host{capabilities: []string{"CAP_CHOWN", "CAP_KILL"}, limits: map[int]uint64{rlimitKinds["nofile"]: 1000}, oomScore: 0}
	strong := host{capabilities: append(slices.Clone(defaultCapabilities), "CAP_SYS_RESOURCE"), limits: weak.limits}
	limits := map[string]api.Ulimit{"nofile": {Soft: 5000, Hard: 9000}, "core": {Soft: -1, Hard: -1}}

	got, err := rlimits(limits, weak)
	if err != nil || len(got) != 2 || got[0].Hard != 1<<64-1 || got[1].Hard != 1000 || got[1].Soft != 1000 {
		t.Errorf("without the right: %+v, %v", got, err)
	}
	if got, err = rlimits(limits, strong); err != nil || got[1].Hard != 9000 || got[1].Soft != 5000 {
		t.Errorf("with the right: %+v, %v", got, err)
	}
	if s := oomScore(-500, weak); s != nil {
		t.Errorf("without the right the score is %d", *s)
	}
	if s := oomScore(-500, strong); s == nil || *s != -500 {
		t.Errorf("with the right the score is %v", s)
	}
	if s := oomScore(300, weak); s == nil || *s != 300 {
		t.Errorf("a score that needs no right is %v", s)
	}
	if s := oomScore(0, host{oomScore: -500}); s == nil || *s != 0 {
		t.Errorf("a container under a protected ikada has %v", s)
	}
	caps, err := capabilities(api.ServiceSpec{CapAdd: []string{"all"}, CapDrop: []string{"kill"}}, weak)
	if err != nil || !slices.Equal(caps, []string{"CAP_CHOWN"}) {
		t.Errorf("all that there are, less one: %v, %v", caps, err)
	}
}

func TestMounts(t *testing.T) {
	c := agent.Container{
		Spec: api.ServiceSpec{Mounts: []api.Mount{{Type: api.MountTmpfs, Target: "/a/b"}}},
		Mounts: []agent.BindMount{
			{Source: "/deep", Target: "/a/b/c"}, {Source: "/top", Target: "/a", ReadOnly: true}, {Source: "/shm", Target: "/dev/shm/"},
		},
	}
	var order []string
	for _, m := range mounts(c, specInput{}) {
		switch m.Source {
		case "/deep", "/top", "/shm", "shm":
			order = append(order, m.Source)
		case "tmpfs":
			order = append(order, m.Destination)
		}
	}
	if want := []string{"/dev", "/top", "/a/b", "/shm", "/deep"}; !slices.Equal(order, want) {
		t.Errorf("order is %v, want %v: parents first, the user's over ours", order, want)
	}
}

func TestTmpfsOptions(t *testing.T) {
	for want, m := range map[string]api.Mount{
		"nosuid,nodev,noexec,mode=1777":             {},
		"nosuid,nodev,noexec,ro,size=4096,mode=700": {ReadOnly: true, Size: 4096, Mode: 0o700},
		"nosuid,nodev,uid=1000,gid=1001,mode=755":   {UID: 1000, GID: 1001, Mode: 0o755, Exec: true},
	} {
		if got := strings.Join(tmpfsOptions(m), ","); got != want {
			t.Errorf("options of %+v are %s, want %s", m, got, want)
		}
	}
}

func TestSwapLimit(t *testing.T) {
	spec := api.ServiceSpec{Resources: api.Resources{MemoryBytes: 100}}
	if r := resources(spec, host{}); r.Memory.Swap != nil || *r.Memory.Limit != 100 {
		t.Errorf("a kernel that does not count swap: %+v", r.Memory)
	}
	if r := resources(spec, host{swapLimit: true}); *r.Memory.Swap != 200 {
		t.Errorf("swap is %d, want Docker's double", *r.Memory.Swap)
	}
	spec.Resources.MemorySwapBytes = -1
	if r := resources(spec, host{swapLimit: true}); *r.Memory.Swap != -1 || *r.Pids.Limit != api.DefaultPIDs {
		t.Errorf("swap is %d, want no limit", *r.Memory.Swap)
	}
}
