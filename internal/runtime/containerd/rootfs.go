package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

// maxAccounts bounds what is read of an image's passwd and group files.
const maxAccounts = 4 << 20

// accounts are the contents of an image's passwd and group files.
type accounts struct{ passwd, group []byte }

// configCache remembers of unpacked images what every start of a container needs. It is small: an entry of a few
// kilobytes for every image that ran since ikada started.
type configCache struct {
	mu       sync.Mutex
	images   map[string]localImage // by pinned reference
	accounts map[string]accounts   // by chain ID
}

func newConfigCache() *configCache {
	return &configCache{images: map[string]localImage{}, accounts: map[string]accounts{}}
}

func (c *configCache) forget(ref string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.images, ref)
}

// lookupUser finds out who a service's process runs as, by the rules of Docker: names and further groups come from the
// image's own files, numbers need not be there.
func (r *Runtime) lookupUser(ctx context.Context, s api.ServiceSpec, image localImage, rootfs []mount.Mount) (specs.User, error) {
	r.configs.mu.Lock()
	a, ok := r.configs.accounts[image.chainID]
	r.configs.mu.Unlock()
	if !ok {
		err := mount.WithReadonlyTempMount(ctx, rootfs, func(root string) error {
			dir, err := os.OpenRoot(root)
			if err != nil {
				return err
			}
			defer dir.Close()
			a = readAccounts(dir)
			return nil
		})
		if err != nil {
			return specs.User{}, fmt.Errorf("read users of the image: %w", err)
		}
		r.configs.mu.Lock()
		r.configs.accounts[image.chainID] = a
		r.configs.mu.Unlock()
	}
	name := s.User
	if name == "" {
		name = image.config.User
	}
	return findUser(name, s.GroupAdd, a)
}

func findUser(name string, groups []string, a accounts) (specs.User, error) {
	u, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, bytes.NewReader(a.passwd), bytes.NewReader(a.group))
	if err != nil {
		return specs.User{}, &api.Error{Kind: api.Invalid, Field: "user", Value: name, Message: err.Error()}
	}
	more, err := user.GetAdditionalGroups(groups, bytes.NewReader(a.group))
	if err != nil {
		return specs.User{}, &api.Error{Kind: api.Invalid, Field: "group_add", Value: strings.Join(groups, ","), Message: err.Error()}
	}
	out := specs.User{UID: uint32(u.Uid), GID: uint32(u.Gid), AdditionalGids: []uint32{uint32(u.Gid)}}
	for _, g := range append(u.Sgids, more...) {
		out.AdditionalGids = append(out.AdditionalGids, uint32(g))
	}
	return out, nil
}

// readAccounts reads below dir; a file that is not there is empty.
func readAccounts(dir *os.Root) accounts {
	read := func(name string) []byte {
		f, err := dir.Open(name)
		if err != nil {
			return nil
		}
		defer f.Close()
		if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
			return nil
		}
		b, err := io.ReadAll(io.LimitReader(f, maxAccounts))
		if err != nil {
			return nil
		}
		return b
	}
	return accounts{passwd: read("etc/passwd"), group: read("etc/group")}
}

// fillVolumes copies into new named volumes what the image has at their places.
func (r *Runtime) fillVolumes(ctx context.Context, mounts []agent.BindMount, rootfs []mount.Mount) error {
	var fill []agent.BindMount
	for _, m := range mounts {
		if !m.FillFrom {
			continue
		}
		empty, err := isEmpty(m.Source)
		if err != nil {
			return fmt.Errorf("look into volume for %s: %w", m.Target, err)
		}
		if empty {
			fill = append(fill, m)
		}
	}
	if len(fill) == 0 {
		return nil
	}
	err := mount.WithReadonlyTempMount(ctx, rootfs, func(root string) error {
		for _, m := range fill {
			if err := fillVolume(root, m); err != nil {
				return fmt.Errorf("fill volume for %s: %w", m.Target, err)
			}
		}
		return nil
	})
	return err
}

func fillVolume(root string, m agent.BindMount) error {
	from, err := fs.RootPath(root, m.Target) // follows links within the image, never out of it
	if err != nil {
		return err
	}
	fi, err := os.Stat(from)
	if os.IsNotExist(err) || (err == nil && !fi.IsDir()) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := fs.CopyDir(m.Source, from); err != nil {
		// A volume that is half full would pass for filled the next time.
		return fmt.Errorf("%w%s", err, emptied(m.Source))
	}
	return nil
}

// emptied empties a directory; what it could not is said in words that go on an error.
func emptied(dir string) string {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if rerr := os.RemoveAll(dir + "/" + e.Name()); rerr != nil {
			err = rerr
		}
	}
	if err != nil {
		return "; and it could not be emptied again: " + err.Error()
	}
	return ""
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
