package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// Where no node can have its data, that is said before one is started there.
func TestDataDir(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	mounted := func(name string, flags uintptr) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", flags, "size=1m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
		return at
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, problem string }{
		{mounted("plain", 0) + "/node/below", ""},
		{mounted("noexec", unix.MS_NOEXEC) + "/node", "mounted noexec"},
		{mounted("readonly", unix.MS_RDONLY), "mounted read-only"},
		{filepath.Join(dir, "a:b"), `has a ':'`},
		{filepath.Join(dir, "a,b"), `has a ','`},
		{file, "is a file"},
	} {
		f := dataDir(t.Context(), Config{DataDir: c.dir})
		if f.OK != (c.problem == "") || f.Fatal == f.OK || !strings.Contains(f.Problem, c.problem) || !f.OK && f.Remedy == "" {
			t.Errorf("%s: %+v, want %q", c.dir, f, c.problem)
		}
	}
}

// A low limit of open files is named with what raises it.
func TestFewFiles(t *testing.T) {
	if f := openFiles("open files", 256); f.OK || f.Fatal || !strings.Contains(f.Problem, "256") || !strings.Contains(f.Remedy, "LimitNOFILE=") {
		t.Errorf("256: %+v", f)
	}
	if f := openFiles("open files", 1<<20); !f.OK {
		t.Errorf("a million: %+v", f)
	}
}
