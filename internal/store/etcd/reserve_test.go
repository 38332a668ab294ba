package etcd_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A disk that others have filled does not end the store.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", 256<<20)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
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
	f, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, size := range []int{1 << 20, 4096} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		put(t, s, fmt.Sprintf("key-%d", i), bytes.Repeat([]byte{1}, 10<<10))
	}
	select {
	case <-s.Stopped():
		t.Fatal("the store has stopped")
	default:
	}
}
