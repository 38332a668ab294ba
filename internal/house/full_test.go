package house

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/disktest"
)

func TestFill(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		name        string
		free, total uint64
		was, want   fill
	}{
		{"half", 20 * gib, 40 * gib, ample, ample},
		{"a twentieth", 2 * gib, 40 * gib, ample, ample},
		{"less", 2*gib - 1, 40 * gib, ample, scarce},
		{"a little more again", 2*gib + 100*mib, 40 * gib, scarce, scarce},
		{"a quarter more", 2*gib + 512*mib, 40 * gib, scarce, ample},
		{"a large disk", 5 * gib, 1000 * gib, ample, ample},
		{"little of a large one", 3 * gib, 1000 * gib, ample, scarce},
		{"full", 127 * mib, 40 * gib, scarce, none},
		{"full, and a little removed", 150 * mib, 40 * gib, none, none},
		{"full, and more removed", 200 * mib, 40 * gib, none, scarce},
		{"full, and much removed", 20 * gib, 40 * gib, none, ample},
		{"nothing free", 0, 40 * gib, ample, none},
		{"a small disk", 100 * mib, gib, ample, ample},
		{"a small disk, full", 10 * mib, gib, ample, none},
		{"not counted", 0, 0, ample, ample},
	} {
		if got := fillOf(c.free, c.total, noneBytes, scarceBytes, c.was); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A disk that fills is a problem of the node's for as long as it is full.
func TestFullDiskIsAProblem(t *testing.T) {
	dir := disktest.Mount(t, 0, "size=64m,nr_inodes=20000")
	k := New(Config{Dir: dir})
	want := func(words ...string) {
		t.Helper()
		got := k.Problems()
		if len(got) != len(words) {
			t.Fatalf("problems %q, want %q", got, words)
		}
		for i, p := range got {
			if !strings.HasPrefix(p, words[i]) || !strings.Contains(p, dir) || !strings.Contains(p, "ikada prune") {
				t.Errorf("problem %q, want %q of %s with what to do", p, words[i], dir)
			}
		}
	}
	want()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 63<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	want("no disk space is left")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	want()
	for i := range 19_100 {
		if err := unix.Mknod(filepath.Join(dir, fmt.Sprint(i)), unix.S_IFIFO|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	want("no inodes are left")
}
