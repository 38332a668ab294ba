package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
)

// loadKey reads the key that seals secrets; a new node gets one. Where there is state already, a key that is gone is not
// replaced: nothing that it has sealed could be opened any more, and a backup of it would come too late.
func loadKey(cfg Config) (*auth.Key, error) {
	path := filepath.Join(cfg.DataDir, auth.KeyFile)
	_, err := os.Stat(path)
	if _, kept := os.Stat(cfg.dir("etcd")); kept == nil && errors.Is(err, fs.ErrNotExist) {
		return nil, api.Errorf(api.NotFound, "read secret key: %s is gone; restore it from a backup, or begin with a new one, with which all "+
			"secrets and logins must be set again: head -c 32 /dev/urandom > %s; chmod 600 %s", path, path, path)
	}
	return auth.LoadKey(cfg.DataDir)
}
