package e2e

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/disktest"
)

// diskSize is that of the file system of the node whose disk is filled, bytes; ikada wants a GiB at its start.
const diskSize = 1200 << 20

// onSmallDisk starts a node on a file system of its own.
func onSmallDisk(t *testing.T) (n *faultNode, disk string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ike")
	if err != nil {
		t.Fatal(err)
	}
	disk = filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(disk, unix.MNT_DETACH), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	node := &Node{Dir: filepath.Join(disk, "n"), name: t.Name()}
	if err := os.Symlink(filepath.Join(dir, "n.log"), node.Dir+".log"); err != nil { // what it says is not on the full disk
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the node:\n%s", node.Log())
		}
		node.cleanUp()
	})
	if err := node.start(); err != nil {
		t.Fatalf("start node: %v\n%s", err, node.Log())
	}
	return faultOn(t, node), disk
}

// TestFaultFullDisk fills the disk under a node: what runs goes on, what needs space says so, and all works again
// once there is some.
func TestFaultFullDisk(t *testing.T) {
	n, disk := onSmallDisk(t)
	n.roll(n.spec("v1", 2))
	traffic := drive(t, n.url("/"), 2, 10*time.Millisecond)
	free := disktest.Fill(t, disk)
	noise := make([]byte, 64<<20) // that cannot be compressed
	_, _ = rand.Read(noise)
	big, err := layer(func(w *tar.Writer) { add(w, "big", 0o644, noise) })
	if err != nil {
		t.Fatal(err)
	}
	img, err := imageOf(v1.Config{Entrypoint: []string{"/big"}}, big)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.push("big:latest", img); err == nil {
		t.Error("a push to a full disk succeeded")
	} else {
		t.Logf("push: %v", err)
		if !strings.Contains(err.Error(), "space") {
			t.Errorf("the error of a push to a full disk does not say so: %v", err)
		}
	}
	// A deployment may be refused, or fail; what serves must not change by it.
	r, err := n.api.Deploy(t.Context(), api.DeployRequest{Spec: n.spec("v2", 2)})
	if err != nil {
		t.Logf("deploy on a full disk: %v", err)
	} else if r.Deployment != nil {
		d := n.wait(r.Deployment.Number)
		t.Logf("deploy on a full disk: %s: %s", d.State, d.Reason)
	}
	if err := request(&http.Client{Timeout: patience}, n.url("/")); err != nil {
		t.Errorf("service on a full disk: %v", err)
	}
	told := func(want bool) func() error {
		return func() error {
			st, err := n.api.Environment(t.Context(), faultRef)
			if err != nil {
				return err
			}
			if full := strings.Contains(strings.Join(st.Problems, "\n"), "no disk space is left for "+n.Dir); full != want {
				return fmt.Errorf("problems in the status: %q", st.Problems)
			}
			return nil
		}
	}
	n.eventually(0, "the status says that the disk is full", told(true))
	pids := n.pids()
	n.Kill(t)
	n.Start(t)
	if err := n.whole(2); err != nil {
		t.Errorf("after a restart on a full disk: %v", err)
	}
	if now := n.pids(); !maps.Equal(now, pids) {
		t.Errorf("processes after a restart on a full disk: %v, before %v", now, pids)
	}
	n.eventually(0, "the status says so after a restart too", told(true))
	free()
	n.eventually(0, "the status says no more that the disk is full", told(false))
	n.eventually(60*time.Second, "a deployment succeeds once there is space", func() error {
		r, err := n.api.Deploy(t.Context(), api.DeployRequest{Spec: n.spec("v3", 2)})
		if err != nil {
			return err
		}
		if r.Unchanged {
			return nil
		}
		if d := n.wait(r.Deployment.Number); d.State != api.DeploySucceeded {
			return fmt.Errorf("%s: %s", d.State, d.Reason)
		}
		return nil
	})
	if err := n.push("big:latest", img); err != nil {
		t.Errorf("push once there is space: %v", err)
	}
	traffic.stopClean(t)
	n.audit(2)
	n.Kill(t)
	n.Start(t)
	n.audit(2)
}
