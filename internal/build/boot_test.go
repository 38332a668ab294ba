package build

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ikada/ikada/api"
)

// The index is kept over restarts of ikada and orderly ones of the machine, and not over a crash of the machine.
func TestIndexAfterCrash(t *testing.T) {
	const first, second = "boot 1", "boot 2"
	for _, c := range []struct {
		name   string
		closed bool
		boot   string
		want   bool // that it is there still
	}{
		{"killed", false, first, true},
		{"closed", true, first, true},
		{"machine restarted", true, second, true},
		{"machine crashed", false, second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if removed, err := openIndexIn(root, first); removed || err != nil {
				t.Fatalf("the first time: removed %v, %v", removed, err)
			}
			path := filepath.Join(root, indexFile)
			if err := os.WriteFile(path, []byte("index"), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.closed {
				if err := closeIndex(root); err != nil {
					t.Fatal(err)
				}
			}
			removed, err := openIndexIn(root, c.boot)
			if err != nil || removed == c.want {
				t.Errorf("removed %v, %v", removed, err)
			}
			if _, err := os.Stat(path); (err == nil) != c.want {
				t.Errorf("the index: %v", err)
			}
		})
	}
}

// After a crash of the machine builds work, whatever the index holds by then.
func TestBuildAfterCrash(t *testing.T) {
	r := newRig(t, nil)
	dir := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY hello /hello\n", "hello": "hi"})
	r.build(t, dir, api.BuildSpec{}).ok(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.cfg.Root, indexFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[len(b)/2:]) // the pages that the machine did not get to write
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.cfg.Root, bootFile), []byte("an earlier boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	if got := r.file(t, r.build(t, dir, api.BuildSpec{}).ok(t), "hello"); got != "hi" {
		t.Errorf("hello = %q", got)
	}
}
