package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3"
)

func TestCageTakesNewLimits(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: cgroups")
	}
	path := fmt.Sprintf("/ikada-test-cage-%d", os.Getpid())
	file := filepath.Join(cgroupMount, "memory", path, "memory.limit_in_bytes")
	dirs := []string{"cpu", "memory", "pids"}
	if cgroups.Mode() == cgroups.Unified {
		file = filepath.Join(cgroupMount, path, "memory.max")
		dirs = []string{""}
	}
	t.Cleanup(func() {
		for _, d := range dirs {
			removeCgroup(filepath.Join(cgroupMount, d, path))
		}
	})
	for _, limit := range []int64{64 << 20, 256 << 20, 32 << 20} {
		c, err := newCage(Config{CgroupParent: path, MemoryBytes: limit, CPUShares: 256, PIDs: 100})
		if err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
		if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != fmt.Sprint(limit) {
			t.Errorf("limit = %s, %v, want %d", got, err, limit)
		}
		if err := c.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestOOMKills(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.events")
	if err := os.WriteFile(file, []byte("low 0\nhigh 0\nmax 31\noom 4\noom_kill 3\noom_group_kill 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := oomKills(file); n != 3 {
		t.Errorf("oomKills = %d", n)
	}
	if n := oomKills(file + "-missing"); n != 0 {
		t.Errorf("oomKills of no file = %d", n)
	}
}

func TestOverlappingStepsAreNotAlone(t *testing.T) {
	c := &cage{}
	first, second := c.enter(), c.enter()
	if first.alone && c.started == first.started || second.alone {
		t.Error("steps that overlap count as alone")
	}
	if first.leave(1) || second.leave(137) {
		t.Error("memory is blamed where it did not run out")
	}
	if third := c.enter(); !third.alone {
		t.Error("a step that nothing overlaps does not count as alone")
	}
}
