package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// traces gives what is on the machine of a directory's node, by kind.
func traces(t testing.TB, dir string) map[string][]string {
	t.Helper()
	id := instance(dir)
	sum := sha256.Sum256([]byte(id))
	link := hex.EncodeToString(sum[:3]) // as it stands in the names of interfaces and tables
	out := map[string][]string{}
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, dir) || strings.Contains(line, id) {
			out["mounts"] = append(out["mounts"], strings.TrimSpace(line))
		}
	}
	for kind, pattern := range map[string]string{
		"files":   dir + "/*",
		"state":   "/run/*" + id + "*",
		"cgroups": "/sys/fs/cgroup/*/ikada-" + id,
		"unified": "/sys/fs/cgroup/ikada-" + id,
		"links":   "/sys/class/net/i?-" + link + "*",
	} {
		if paths, _ := filepath.Glob(pattern); len(paths) > 0 {
			out[kind] = paths
		}
	}
	if nft, err := exec.LookPath("nft"); err == nil {
		tables, err := exec.Command(nft, "list", "tables").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(tables)) {
			if strings.Contains(line, "ikada-"+link) {
				out["tables"] = append(out["tables"], strings.TrimSpace(line))
			}
		}
	}
	for _, pid := range faultProcesses(dir) {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		out["processes"] = append(out["processes"], strings.ReplaceAll(string(line), "\x00", " "))
	}
	return out
}

// TestFaultReset resets one of two nodes side by side, alive and killed, and looks for what is left.
func TestFaultReset(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(n *faultNode){
		"alive":  func(*faultNode) {},
		"killed": func(n *faultNode) { n.Kill(n.t) },
		"all killed": func(n *faultNode) {
			n.Kill(n.t)
			n.killContainerd()
			for _, pid := range n.shims() {
				kill(n.t, pid)
			}
		},
		"damaged": func(n *faultNode) {
			n.Kill(n.t)
			n.killContainerd()
			db := filepath.Join(n.Dir, "containerd", "io.containerd.metadata.v1.bolt", "meta.db")
			if err := os.WriteFile(db, []byte("not a database"), 0o600); err != nil {
				n.t.Fatal(err)
			}
		},
		"shims that hang": func(n *faultNode) {
			for _, pid := range n.shims() {
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					n.t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			stays, goes := newFaultNode(t), newFaultNode(t)
			for _, n := range []*faultNode{stays, goes} {
				spec := n.spec("v1", 2)
				web := spec.Services["web"]
				web.StopGrace = api.Duration(time.Second)
				spec.Services["web"] = web
				n.roll(spec)
			}
			other := filepath.Join(goes.Dir, "not-ours")
			if err := os.WriteFile(other, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			kinds := slices.Sorted(maps.Keys(traces(t, goes.Dir)))
			for _, kind := range []string{"files", "links", "mounts", "processes", "state"} {
				if !slices.Contains(kinds, kind) {
					t.Fatalf("no %s of a node that runs: the test looks in the wrong place", kind)
				}
			}
			before := stays.pids()
			end(goes)
			if r := goes.Run(t, "reset", "-y", "--data-dir", goes.Dir).Want(t, exitDone); r.Took > time.Minute {
				t.Errorf("the reset took %v", r.Took)
			}
			<-goes.exited
			left := traces(t, goes.Dir)
			if files := left["files"]; !slices.Equal(files, []string{other}) {
				t.Errorf("files after the reset: %v, want only what ikada did not make", files)
			}
			delete(left, "files")
			if len(left) > 0 {
				t.Errorf("left by reset: %v", left)
			}
			if now := stays.pids(); !maps.Equal(now, before) {
				t.Errorf("processes of the other node: %v, before %v", now, before)
			}
			stays.audit(2)
			stays.serves(20 * time.Second)
		})
	}
}
