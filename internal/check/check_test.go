package check

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Too little space keeps a new node from starting, but not one that has tasks to look after.
func TestSmallDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 64<<20)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	cfg := Config{DataDir: filepath.Join(dir, "node")}
	if f := disk(t.Context(), cfg); !f.Fatal {
		t.Errorf("a new node: %+v, want it to be fatal", f)
	}
	if err := os.MkdirAll(filepath.Join(cfg.DataDir, "etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if f := disk(t.Context(), cfg); f.OK || f.Fatal {
		t.Errorf("a node that is there: %+v, want a warning", f)
	}
}
