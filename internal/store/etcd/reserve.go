package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// reserve is the disk space that the database file has ahead of what it uses, bytes. etcd ends its process when a
	// commit finds no space; with a reserve it outlives a disk that others have filled.
	reserve = 16 << 20
	// reserveEvery is how often the reserve is made up for what was used of it.
	reserveEvery = time.Minute
)

// keepReserve keeps the reserve until ctx ends. On a full disk, and on a file system that cannot reserve, it is
// without one.
func (s *Server) keepReserve(ctx context.Context) {
	tick := time.NewTicker(reserveEvery)
	defer tick.Stop()
	had := true
	for {
		err := reserveSpace(filepath.Join(s.config.Dir, "data", "member", "snap", "db"))
		if err != nil && had {
			s.log.Warn("the store has no disk space in reserve", "error", err)
		}
		had = err == nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reserveSpace allocates a file's blocks up to its end, where it may have holes, and the reserve beyond.
func reserveSpace(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, fi.Size()+reserve); err != nil {
		return fmt.Errorf("reserve disk space for %s: %w", path, err)
	}
	return nil
}
