package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// prepared makes a node's files; its secrets lie on a file system of their own, which the test's end takes away.
func prepared(t *testing.T) *files {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting memory for secrets needs root")
	}
	dir := t.TempDir()
	f := &files{dir: filepath.Join(dir, "tasks"), secrets: filepath.Join(dir, "secrets"), volumes: filepath.Join(dir, "volumes")}
	if err := f.prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(f.secrets, 0); err != nil {
			t.Error(err)
		}
	})
	return f
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestSecretsLieInMemory(t *testing.T) {
	f := prepared(t)
	if err := f.prepare(); err != nil { // a second agent finds it mounted
		t.Fatal(err)
	}
	path, err := f.secret("t1", 0, []byte("hunter2"), api.FileJoin{Target: "/run/secrets/key", UID: 1000, GID: 1001, Mode: 0o400})
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Errorf("the secret lies on a file system of type %x (%v)", fs.Type, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode().Perm() != 0o400 || st.Uid != 1000 || st.Gid != 1001 {
		t.Errorf("mode %o, owner %d:%d", info.Mode().Perm(), st.Uid, st.Gid)
	}
	if b, err := os.ReadFile(path); string(b) != "hunter2" {
		t.Errorf("content %q (%v)", b, err)
	}
	if err := f.remove("t1"); err != nil || there(filepath.Dir(path)) {
		t.Errorf("the secret is still there (%v)", err)
	}
}

func TestConfigs(t *testing.T) {
	f := prepared(t)
	for range 2 { // a start that was interrupted is done again
		path, err := f.config("t1", 3, []byte("a: 1\n"), api.FileJoin{})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o444 {
			t.Errorf("mode %v (%v)", info.Mode(), err)
		}
	}
}

func TestReconcileFiles(t *testing.T) {
	f := prepared(t)
	for _, id := range []string{"keep", "gone"} {
		if _, err := f.config(id, 0, nil, api.FileJoin{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.secret(id, 0, nil, api.FileJoin{}); err != nil {
			t.Fatal(err)
		}
	}
	f.reconcile([]string{"keep"})
	for _, dir := range []string{f.dir, f.secrets} {
		if !there(filepath.Join(dir, "keep")) || there(filepath.Join(dir, "gone")) {
			t.Errorf("%s is not reconciled", dir)
		}
	}
}

func TestVolumes(t *testing.T) {
	f := prepared(t)
	named, err := f.named("shop_production_data", false, api.Mount{})
	if err != nil || named != filepath.Join(f.volumes, "shop_production_data") || !there(named) {
		t.Errorf("named: %s (%v)", named, err)
	}
	sub, err := f.named("shop_production_data", false, api.Mount{SubPath: "a/b"})
	if err != nil || sub != filepath.Join(named, "a/b") || !there(sub) {
		t.Errorf("part of it: %s (%v)", sub, err)
	}
	outer, err := f.anonymous("t1", api.Mount{Target: "/var"})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := f.anonymous("t1", api.Mount{Target: "/var/lib"})
	if err != nil || strings.HasPrefix(inner, outer+"/") {
		t.Errorf("anonymous: %s in %s (%v)", inner, outer, err)
	}
	if err := f.remove("t1"); err != nil || there(outer) || there(inner) || !there(named) {
		t.Errorf("after the task: %v", err)
	}
	_, err = f.named("theirs", true, api.Mount{})
	if !api.IsKind(err, api.NotFound) || !strings.Contains(err.Error(), `external volume "theirs" does not exist on this node; make it with `) {
		t.Errorf("external: %v", err)
	}
	if there(filepath.Join(f.volumes, "theirs")) {
		t.Error("an external volume was made")
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", trash + "1"} {
		if _, err := f.named(name, false, api.Mount{}); !api.IsKind(err, api.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// TestSubPathStaysInside: what a container wrote into its volume does not lead the next one to the host's files.
func TestSubPathStaysInside(t *testing.T) {
	f := prepared(t)
	path, err := f.named("v", false, api.Mount{})
	if err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	for link, target := range map[string]string{"abs": outside, "up": "../../../" + filepath.Base(outside), "etc": "/etc"} {
		if err := os.Symlink(target, filepath.Join(path, link)); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{link, link + "/x"} {
			if got, err := f.named("v", false, api.Mount{SubPath: sub}); err == nil {
				t.Errorf("%s leads to %s", sub, got)
			}
		}
	}
	if there(filepath.Join(outside, "x")) {
		t.Error("a directory was made outside")
	}
	if got, err := f.named("v", false, api.Mount{SubPath: "../../x"}); err != nil || got != filepath.Join(path, "x") {
		t.Errorf("%s (%v)", got, err)
	}
}

func TestSetAside(t *testing.T) {
	f := prepared(t)
	path, err := f.named("v", false, api.Mount{SubPath: "content"})
	if err != nil {
		t.Fatal(err)
	}
	f.use("t1", "w", "v")
	if dir, err := f.setAside("v"); dir != "" || err != nil || !there(path) {
		t.Errorf("a volume in use went to %q (%v)", dir, err)
	}
	f.release("t1")
	dir, err := f.setAside("v")
	if err != nil || there(filepath.Dir(path)) || !there(filepath.Join(dir, "v", "content")) {
		t.Errorf("it went to %q (%v)", dir, err)
	}
	if left := f.leftAside(); len(left) != 1 || left[0] != dir {
		t.Errorf("left aside: %v", left)
	}
	for _, name := range []string{"v", "", "..", "../tasks"} { // gone already, or no name
		if dir, err := f.setAside(name); dir != "" || err != nil {
			t.Errorf("%q went to %q (%v)", name, dir, err)
		}
	}
}

func TestBindSource(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "a", "b")
	_, err := bindSource(api.Mount{Source: missing})
	if !api.IsKind(err, api.NotFound) || err.Error() != "bind source "+missing+" does not exist on this node" {
		t.Errorf("error %v", err)
	}
	if got, err := bindSource(api.Mount{Source: missing, Create: true}); err != nil || got != missing || !there(missing) {
		t.Errorf("%s (%v)", got, err)
	}
	if got, err := bindSource(api.Mount{Source: missing}); err != nil || got != missing {
		t.Errorf("%s (%v)", got, err)
	}
}
