package build

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestClearMounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	root := t.TempDir()
	inside, beside := filepath.Join(root, "build", "cachemounts", "one"), filepath.Join(root, "build-other")
	for _, dir := range []string{inside, beside} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	if err := clearMounts(filepath.Join(root, "build")); err != nil {
		t.Fatal(err)
	}
	if mounted(t, inside) {
		t.Error("a mount below the directory is still there")
	}
	if !mounted(t, beside) {
		t.Error("a mount beside the directory is gone")
	}
}

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == unix.TMPFS_MAGIC && notSameDevice(t, dir, filepath.Dir(dir))
}

func notSameDevice(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y unix.Stat_t
	for path, st := range map[string]*unix.Stat_t{a: &x, b: &y} {
		if err := unix.Stat(path, st); err != nil {
			t.Fatal(err)
		}
	}
	return x.Dev != y.Dev
}
