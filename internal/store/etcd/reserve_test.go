package etcd_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/disktest"
	"github.com/ikada/ikada/internal/store"
)

// A disk that others have filled does not end the store.
func TestFullDisk(t *testing.T) {
	disk := disktest.Mount(t, 0, "size=256m")
	s := open(t, filepath.Join(disk, "store"))
	db := filepath.Join(disk, "store", "data", "member", "snap", "db")
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) { // the reserve is made beside
		var st unix.Stat_t
		if err := unix.Stat(db, &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 >= 16<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the database has %d bytes on disk, no reserve", st.Blocks*512)
		}
	}
	disktest.Fill(t, disk)
	for i := range 100 {
		put(t, s, fmt.Sprintf("key-%d", i), bytes.Repeat([]byte{1}, 10<<10))
	}
	select {
	case <-s.Stopped():
		t.Fatal("the store has stopped")
	default:
	}
}

// A store starts on a full disk where others have taken the blocks that etcd gives back and wants again.
func TestStartOnFullDisk(t *testing.T) {
	disk := disktest.Mount(t, 0, "size=256m")
	dir := filepath.Join(disk, "store")
	s := open(t, dir)
	put(t, s, "before", []byte("1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "data", "member", "wal", "*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v: %v", segments, err)
	}
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	half := fi.Size() / 2 // far beyond the last record
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, half, fi.Size()-half); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := os.Create(filepath.Join(filepath.Dir(segments[0]), "0.tmp")) // as a process leaves it that is killed
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(next.Fd()), 0, 0, fi.Size()); err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	disktest.Fill(t, disk)
	s = open(t, dir)
	for i := range 100 {
		put(t, s, fmt.Sprintf("key-%d", i), bytes.Repeat([]byte{1}, 10<<10))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	_, err = s.View(t.Context(), func(tx store.Tx) error {
		got, ok, err := tx.Get(key("before"))
		if err == nil && (!ok || string(got.Value) != "1") {
			err = fmt.Errorf("before is %q after two starts on a full disk", got.Value)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
