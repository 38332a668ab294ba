package etcd_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/etcd"
	"github.com/ikada/ikada/internal/store/storetest"
)

func open(t testing.TB, dir string) *etcd.Server {
	t.Helper()
	return openWith(t, etcd.Config{Dir: dir, Name: "n1"})
}

func openWith(t testing.TB, c etcd.Config) *etcd.Server {
	t.Helper()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	start := time.Now()
	s, err := etcd.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready in %v", time.Since(start))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}

func TestOneProcessADirectory(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Name: "n1"}); !api.IsKind(err, api.Conflict) {
		t.Fatalf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []etcd.Config{{}, {Dir: t.TempDir()}, {Dir: t.TempDir(), Name: "n1", Quota: -1}} {
		if _, err := etcd.Open(t.Context(), c); !api.IsKind(err, api.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestSurvivesClose(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	rev := put(t, first, "a", []byte("kept"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	<-first.Stopped()
	second := open(t, dir)
	_, err := second.View(t.Context(), func(tx store.Tx) error {
		e, ok, err := tx.Get(key("a"))
		if !ok || string(e.Value) != "kept" || e.Rev != rev {
			t.Errorf("got %+v, %v", e, ok)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCloseEndsWatchesAndLeases(t *testing.T) {
	s := open(t, t.TempDir())
	lease, err := s.Grant(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	changes := s.Watch(t.Context(), store.Root, put(t, s, "a", nil))
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if b := <-changes; !api.IsKind(b.Err, api.Unavailable) {
		t.Errorf("got %+v", b)
	}
	<-lease.Lost()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

func TestStoresSideBySide(t *testing.T) {
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	put(t, a, "a", []byte("of a"))
	_, err := b.View(t.Context(), func(tx store.Tx) error {
		entries, err := tx.List(store.Root)
		if len(entries) != 0 {
			t.Errorf("%d entries of another store", len(entries))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFullStoreRecovers overwrites a value until the quota is reached by its history: writes are refused as
// Exhausted, and accepted again once the store has given the space back by itself.
func TestFullStoreRecovers(t *testing.T) {
	s := openWith(t, etcd.Config{Dir: t.TempDir(), Name: "n1", Quota: 16 << 20})
	value := make([]byte, 1<<20)
	write := func(tx store.Tx) error {
		tx.Put(key("a"), value)
		return nil
	}
	var err error
	for range 64 {
		if _, err = s.Update(t.Context(), write); err != nil {
			break
		}
	}
	if !api.IsKind(err, api.Exhausted) {
		t.Fatalf("after 64 MiB: %v", err)
	}
	for deadline := time.Now().Add(2 * time.Minute); err != nil; _, err = s.Update(t.Context(), write) {
		if !api.IsKind(err, api.Exhausted) || time.Now().After(deadline) {
			t.Fatalf("not accepted again: %v", err)
		}
	}
}

func key(name string) string { return store.Root + "test/" + name }

func put(t testing.TB, s store.Store, name string, value []byte) int64 {
	t.Helper()
	rev, err := s.Update(t.Context(), func(tx store.Tx) error {
		tx.Put(key(name), value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// TestRunEndsWithTheStore: nobody waits for a store that has stopped.
func TestRunEndsWithTheStore(t *testing.T) {
	s := open(t, t.TempDir())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !api.IsKind(err, api.Unavailable) {
		t.Errorf("Run of a store that has stopped: %v", err)
	}
}

// TestDamagedFiles: what cannot be read is an error that says where and what to do, not the end of the process.
func TestDamagedFiles(t *testing.T) {
	value := bytes.Repeat([]byte("v"), 500)
	for name, c := range map[string]struct {
		file   string // pattern below the store's directory
		damage func(b []byte) []byte
	}{
		"log, a wrong byte":     {"data/member/wal/*.wal", func(b []byte) []byte { b[bytes.Index(b, value)+100] = 'w'; return b }},
		"database, cut off":     {"data/member/snap/db", func(b []byte) []byte { return b[:2*os.Getpagesize()+100] }},
		"database, overwritten": {"data/member/snap/db", func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			for i := range 20 {
				put(t, s, strings.Repeat("k", i+1), value)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, c.file))
			if err != nil || len(files) == 0 {
				t.Fatalf("no file %s: %v", c.file, err)
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(files[0], c.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = etcd.Open(t.Context(), etcd.Config{Dir: dir, Name: "n1"})
			if !api.IsKind(err, api.Unavailable) || !strings.Contains(err.Error(), "restore the data directory from a backup") || !strings.Contains(err.Error(), dir) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}
