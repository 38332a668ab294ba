package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// dataDir looks at where the data directory is to be, or is.
func dataDir(_ context.Context, cfg Config) Finding {
	const name = "data directory"
	const remedy = "choose another --data-dir"
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return fatal(name, remedy, "%s: %v", cfg.DataDir, err)
	}
	if i := strings.IndexAny(dir, `:,\`); i >= 0 {
		return fatal(name, remedy, "%s has a %q in its path, which mounts of layers take for a separator", dir, dir[i])
	}
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
		return fatal(name, remedy, "%s is a file", dir)
	}
	at := existing(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return fatal(name, remedy, "%s: %v", at, err)
	}
	switch {
	case st.Flags&unix.ST_RDONLY != 0:
		return fatal(name, "mount it for writing, or "+remedy, "the file system of %s is mounted read-only", at)
	case st.Flags&unix.ST_NOEXEC != 0:
		return fatal(name, "mount it without noexec, or "+remedy, "the file system of %s is mounted noexec: runc and the shim are unpacked there", at)
	}
	return fine(fmt.Sprintf("%s %s", name, dir))
}

// existing gives a directory, or the nearest one above it that is there.
func existing(dir string) string {
	for dir != "/" && dir != "." {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}
