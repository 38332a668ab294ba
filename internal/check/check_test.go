package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/disktest"
)

// Too little space keeps a new node from starting, but not one that has tasks to look after.
func TestSmallDisk(t *testing.T) {
	dir := disktest.Mount(t, 0, "size=64m")
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
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, problem string }{
		{disktest.Mount(t, 0, "size=1m") + "/node/below", ""},
		{disktest.Mount(t, unix.MS_NOEXEC, "size=1m") + "/node", "mounted noexec"},
		{disktest.Mount(t, unix.MS_RDONLY, "size=1m"), "mounted read-only"},
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
