package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// files are the node's volumes and the files that tasks mount. Secrets lie in memory only.
type files struct {
	dir, secrets, volumes string
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
	return errors.Join(os.RemoveAll(filepath.Join(f.dir, id)), os.RemoveAll(filepath.Join(f.secrets, id)))
}

func (f *files) config(id string, n int, content []byte, j api.FileJoin) (string, error) {
	return writeFile(filepath.Join(f.dir, id), fmt.Sprintf("config-%d", n), content, j)
}

func (f *files) secret(id string, n int, value []byte, j api.FileJoin) (string, error) {
	return writeFile(filepath.Join(f.secrets, id), fmt.Sprintf("secret-%d", n), value, j)
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

// volume gives the host path of a volume, and makes it when it is new. A volume without a name belongs to its task
// and goes with it.
func (f *files) volume(t api.Task, specs map[string]api.VolumeSpec, m api.Mount) (string, error) {
	var path string
	if m.Source == "" {
		path = filepath.Join(f.dir, t.ID, "volume", filepath.Clean("/"+m.Target))
	} else {
		spec := specs[m.Source]
		path = filepath.Join(f.volumes, spec.HostName(t.EnvRef, m.Source))
		if spec.External {
			if _, err := os.Stat(path); err != nil {
				return "", api.Errorf(api.NotFound, "external volume %q does not exist on this node", filepath.Base(path))
			}
		}
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("make volume: %w", err)
	}
	if m.SubPath == "" {
		return path, nil
	}
	path = filepath.Join(path, filepath.Clean("/"+m.SubPath))
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("make directory in volume: %w", err)
	}
	return path, nil
}

// removeVolume removes a named volume with all that is in it.
func (f *files) removeVolume(name string) {
	if name == "" || name != filepath.Base(name) {
		return
	}
	_ = os.RemoveAll(filepath.Join(f.volumes, name))
}

// bindSource gives a bind mount's host path, which must be there unless the user wants it made.
func bindSource(m api.Mount) (string, error) {
	if _, err := os.Stat(m.Source); err != nil {
		if !errors.Is(err, fs.ErrNotExist) || !m.Create {
			return "", api.Errorf(api.NotFound, "bind source %s: %w", m.Source, err)
		}
		if err := os.MkdirAll(m.Source, 0o755); err != nil {
			return "", fmt.Errorf("make bind source: %w", err)
		}
	}
	return m.Source, nil
}
