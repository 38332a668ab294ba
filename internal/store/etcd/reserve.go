package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"golang.org/x/sys/unix"
)

const (
	// reserve is the disk space that the database file has ahead of what it uses, bytes. etcd ends its process when a
	// commit finds no space; with a reserve it outlives a disk that others have filled.
	reserve = 16 << 20
	// reserveEvery is how often the reserve is made up for what was used of it.
	reserveEvery = time.Minute
)

// database gives the file of the database.
func (c Config) database() string { return filepath.Join(c.Dir, "data", "member", "snap", "db") }

// segment gives the newest segment of the log, "" when there is none.
func (c Config) segment() string {
	names, _ := filepath.Glob(filepath.Join(c.Dir, "data", "member", "wal", "*.wal"))
	if len(names) == 0 {
		return ""
	}
	return slices.Max(names) // they are numbered in hexadecimal, of one length
}

// trimLog shortens the newest segment to its records when the disk is nearly full. etcd allocates the rest of it anew when
// it starts, and ends its process when it cannot, because something else has taken the blocks in between.
func (c Config) trimLog() error {
	path := c.segment()
	var st unix.Statfs_t
	if path == "" || unix.Statfs(c.Dir, &st) != nil || st.Bfree*uint64(st.Bsize) >= 2*uint64(wal.SegmentSizeBytes) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	defer func() { _ = f.Close() }()
	end, whole := lastRecord(f)
	if !whole {
		return nil // etcd mends it, or says what is wrong
	}
	if err := f.Truncate(end); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return nil
}

// lastRecord gives where the last record of a segment ends; whole is false where something else than space follows.
func lastRecord(f *os.File) (end int64, whole bool) {
	d, rec := wal.NewDecoder(fileutil.NewFileReader(f)), &walpb.Record{}
	for {
		switch err := d.Decode(rec); {
		case errors.Is(err, io.EOF):
			return d.LastOffset(), true
		case err != nil:
			return 0, false
		case rec.GetType() == wal.CrcType:
			if crc := d.LastCRC(); crc != 0 && rec.Validate(crc) != nil {
				return 0, false
			}
			d.UpdateCRC(rec.GetCrc())
		}
	}
}

// keepReserve keeps the reserve until ctx ends, and the space of the log's newest segment. On a full disk, and on a file
// system that cannot reserve, it is without one.
func (s *Server) keepReserve(ctx context.Context) {
	tick := time.NewTicker(reserveEvery)
	defer tick.Stop()
	had := true
	for {
		err := errors.Join(reserveSpace(s.config.database(), reserve), reserveSegment(s.config.segment()))
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

// reserveSegment allocates what is missing of a segment's blocks, or half of it, and so on.
func reserveSegment(path string) (err error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil //nolint:nilerr // etcd has removed it, since there is a newer one
	}
	for beyond := wal.SegmentSizeBytes - fi.Size(); beyond >= 1<<20; beyond /= 2 {
		if err = reserveSpace(path, beyond); err == nil {
			return nil
		}
	}
	return err
}

// reserveSpace allocates a file's blocks up to its end, where it may have holes, and so many bytes beyond.
func reserveSpace(path string, beyond int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, fi.Size()+beyond); err != nil {
		return fmt.Errorf("reserve disk space for %s: %w", path, err)
	}
	return nil
}
