package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// files are the node's volumes and the files that tasks mount. Secrets lie in memory only.
type files struct {
	dir, secrets, volumes string

	mu   sync.Mutex
	uses map[string][]string // task → named volumes that it mounts
}

// secretsSize bounds the memory that secrets may take, bytes.
const secretsSize = 64 << 20

// prepare makes the directories, and mounts the secrets' file system unless an earlier agent has.
func (f *files) prepare() error {
	for _, d := range []string{f.dir, f.secrets, f.volumes} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return fmt.Errorf("make directory for tasks: %w", err)
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(f.secrets, &st); err == nil && st.Type == unix.TMPFS_MAGIC {
		return nil
	}
	opts := fmt.Sprintf("size=%d,mode=0711", secretsSize)
	if err := unix.Mount("tmpfs", f.secrets, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, opts); err != nil {
		return fmt.Errorf("mount memory for secrets: %w", err)
	}
	return nil
}

// reconcile removes the files of tasks that are not in keep.
func (f *files) reconcile(keep []string) {
	for _, dir := range []string{f.dir, f.secrets} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !slices.Contains(keep, e.Name()) {
				_ = os.RemoveAll(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// remove removes a task's files and anonymous volumes.
func (f *files) remove(id string) error {
	f.release(id)
	return errors.Join(os.RemoveAll(filepath.Join(f.dir, id)), os.RemoveAll(filepath.Join(f.secrets, id)))
}

func (f *files) config(id string, n int, content []byte, j api.FileJoin) (string, error) {
	return writeFile(filepath.Join(f.dir, id), fmt.Sprintf("config-%d", n), content, j)
}

func (f *files) secret(id string, n int, value []byte, j api.FileJoin) (string, error) {
	return writeFile(filepath.Join(f.secrets, id), fmt.Sprintf("secret-%d", n), value, j)
}

// secretEnv keeps the variables of a task that are secrets; only root reads them.
func (f *files) secretEnv(id string, content []byte) (string, error) {
	return writeFile(filepath.Join(f.secrets, id), "env", content, api.FileJoin{Mode: 0o400})
}

func writeFile(dir, name string, content []byte, j api.FileJoin) (string, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	mode := fs.FileMode(0o444)
	if j.Mode != 0 {
		mode = fs.FileMode(j.Mode) & fs.ModePerm
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", err
	}
	if err := os.Chown(path, j.UID, j.GID); err != nil {
		return "", err
	}
	return path, os.Chmod(path, mode)
}
