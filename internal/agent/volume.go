package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
)

// trash is the beginning of the names of volumes that are being removed.
const trash = ".removed-"

// anonymous gives the host path of a volume without a name, which belongs to its task and goes with it.
func (f *files) anonymous(id string, m api.Mount) (string, error) {
	// Escaped, so that volumes mounted inside each other lie beside each other.
	path := filepath.Join(f.dir, id, "volumes", url.PathEscape(filepath.Clean("/"+m.Target)))
	return makeVolume(path, m.SubPath)
}

// named gives the host path of a named volume, and makes it when it is new and ikada's to make.
func (f *files) named(name string, external bool, m api.Mount) (string, error) {
	if !plainName(name) {
		return "", api.FieldError("volume.name", name, "a plain file name")
	}
	path := filepath.Join(f.volumes, name)
	if external {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", api.Errorf(api.NotFound, "external volume %q does not exist on this node; make it with `mkdir %s`", name, path)
		} else if err != nil {
			return "", fmt.Errorf("find external volume %q: %w", name, err)
		}
	}
	return makeVolume(path, m.SubPath)
}

// plainName tells whether a volume's name is a name and no path, and none that f uses itself.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && name == filepath.Base(name) && !strings.HasPrefix(name, trash)
}

// makeVolume makes a volume's directory and one in it. What a container wrote into the volume cannot lead out of it:
// a symbolic link in sub that does is an error.
func makeVolume(path, sub string) (string, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("make volume: %w", err)
	}
	sub = strings.TrimPrefix(filepath.Clean("/"+sub), "/")
	if sub == "" {
		return path, nil
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return "", fmt.Errorf("open volume: %w", err)
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(sub, 0o755); err != nil {
		return "", fmt.Errorf("make directory %s in volume: %w", sub, err)
	}
	if _, err := root.Stat(sub); err != nil {
		return "", fmt.Errorf("open directory %s in volume: %w", sub, err)
	}
	return filepath.Join(path, sub), nil
}

// use notes that a task mounts volumes, until release.
func (f *files) use(task string, volumes ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uses == nil {
		f.uses = map[string][]string{}
	}
	f.uses[task] = append(f.uses[task], volumes...)
}

// release notes that a task mounts no volume any more.
func (f *files) release(task string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.uses, task)
}

// setAside takes a named volume out of sight so that a new one may have its name, and gives where it lies now; "" when
// there is none. A volume that a task mounts belongs to a new environment of the same name by now, and is left alone.
func (f *files) setAside(name string) (string, error) {
	if !plainName(name) {
		return "", nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, volumes := range f.uses {
		if slices.Contains(volumes, name) {
			return "", nil
		}
	}
	path := filepath.Join(f.volumes, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	dir, err := os.MkdirTemp(f.volumes, trash)
	if err != nil {
		return "", fmt.Errorf("remove volume %s: %w", name, err)
	}
	if err := os.Rename(path, filepath.Join(dir, name)); err != nil {
		return "", errors.Join(fmt.Errorf("remove volume %s: %w", name, err), os.Remove(dir))
	}
	return dir, nil
}

// leftAside gives what an earlier agent set aside and did not get to remove.
func (f *files) leftAside() []string {
	dirs, _ := filepath.Glob(filepath.Join(f.volumes, trash+"*"))
	return dirs
}

// bindSource gives a bind mount's host path, which must be there unless the user wants it made.
func bindSource(m api.Mount) (string, error) {
	_, err := os.Stat(m.Source)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !m.Create:
		return "", api.Errorf(api.NotFound, "bind source %s does not exist on this node", m.Source)
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(m.Source, 0o755); err != nil {
			return "", fmt.Errorf("make bind source: %w", err)
		}
	case err != nil:
		return "", fmt.Errorf("find bind source: %w", err)
	}
	return m.Source, nil
}
