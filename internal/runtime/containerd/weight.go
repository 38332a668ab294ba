package containerd

import (
	"fmt"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// What weighs how much where processors are short, in the shares of cgroup v1, of which a group has 1024 by default.
// All containers together are one group of the machine: without more weight they would get no more than a single other
// process, and starting a container takes many. Inside that group tasks come before builds.
const (
	instanceShares = 4096
	tasksShares    = 10240
)

// weigh makes the groups of the instance and of its tasks, if they are not there, and gives them their weight.
func (c Config) weigh() error {
	for _, g := range []struct {
		path   string
		shares uint64
	}{{c.CgroupRoot(), instanceShares}, {c.CgroupPath(defaultCgroup), tasksShares}} {
		var err error
		if cgroups.Mode() == cgroups.Unified {
			weight := cgroup2.ConvertCPUSharesToCgroupV2Value(g.shares)
			_, err = cgroup2.NewManager("/sys/fs/cgroup", g.path, &cgroup2.Resources{CPU: &cgroup2.CPU{Weight: &weight}})
		} else {
			_, err = cgroup1.New(cgroup1.StaticPath(g.path), &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &g.shares}},
				cgroup1.WithHierarchy(onlyCPU))
		}
		if err != nil {
			return fmt.Errorf("weigh cgroup %s: %w", g.path, err)
		}
	}
	return nil
}

func onlyCPU() ([]cgroup1.Subsystem, error) {
	all, err := cgroup1.Default()
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.Name() == cgroup1.Cpu {
			return []cgroup1.Subsystem{s}, nil
		}
	}
	return nil, nil
}
