package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// usage is what a node takes of its machine.
type usage struct {
	pss                 int // of ikada, its balancer and containerd, KiB
	fds, threads        int // of the same
	mounts, spaces, dir int // mounts, network namespaces, log directories of tasks
}

func (u usage) String() string {
	return fmt.Sprintf("%d MiB PSS, %d fds, %d threads, %d mounts, %d network namespaces, %d logs", u.pss>>10, u.fds, u.threads, u.mounts, u.spaces, u.dir)
}

// usage measures the node.
func (n *faultNode) usage() usage {
	n.t.Helper()
	var u usage
	for _, pid := range processesOf(program) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !bytes.Contains(line, []byte(n.Dir)) {
			continue
		}
		rollup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		s := bufio.NewScanner(bytes.NewReader(rollup))
		for s.Scan() {
			var kib int
			if _, err := fmt.Sscanf(s.Text(), "Pss: %d kB", &kib); err == nil {
				u.pss += kib
			}
		}
		for dir, count := range map[string]*int{"fd": &u.fds, "task": &u.threads} {
			entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
			*count += len(entries)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.Dir) || strings.Contains(line, n.stateDir()) {
			u.mounts++
		}
	}
	spaces, _ := filepath.Glob(filepath.Join(n.Dir, "network", "netns", "*"))
	logs, _ := filepath.Glob(filepath.Join(n.Dir, "logs", "*"))
	u.spaces, u.dir = len(spaces), len(logs)
	return u
}

// TestFaultSoak deploys without a pause for as long as IKADA_SOAK says and watches what the node takes; without it the
// test is left out.
func TestFaultSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("IKADA_SOAK"))
	if err != nil {
		t.Skip("IKADA_SOAK is not set to a duration, such as 5m")
	}
	const replicas, warm = 4, 20 // deployments until caches are full
	n := newFaultNode(t)
	traffic := drive(t, n.url("/"), 4, 10*time.Millisecond)
	began := time.Now()
	var first usage
	var last usage
	count := 0
	for ; time.Since(began) < length; count++ {
		n.roll(n.spec(fmt.Sprintf("v%d", count), replicas))
		if count == 0 {
			traffic.stop()
			traffic = drive(t, n.url("/"), 4, 10*time.Millisecond)
		}
		if count == warm {
			n.audit(replicas)
			first = n.usage()
			t.Logf("after %d deployments: %s", count, first)
		} else if count > warm && count%warm == 0 {
			last = n.usage()
			t.Logf("after %d deployments: %s", count, last)
		}
	}
	n.audit(replicas)
	last = n.usage()
	t.Logf("after %d deployments in %v: %s", count, time.Since(began).Round(time.Second), last)
	traffic.stopClean(t)
	if count <= 2*warm {
		t.Fatalf("only %d deployments: too few to tell a leak", count)
	}
	for what, grown := range map[string][2]int{
		"PSS, KiB": {last.pss, first.pss + first.pss/2}, "file descriptors": {last.fds, first.fds + 20},
		"threads": {last.threads, first.threads + 20}, "mounts": {last.mounts, first.mounts + 4},
		"network namespaces": {last.spaces, first.spaces}, "logs": {last.dir, first.dir + replicas},
	} {
		if grown[0] > grown[1] {
			t.Errorf("%s grew to %d, more than %d", what, grown[0], grown[1])
		}
	}
}
