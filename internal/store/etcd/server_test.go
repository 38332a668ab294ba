package etcd_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/etcd"
	"github.com/ikada/ikada/internal/store/storetest"
)

func open(t testing.TB, dir string) *etcd.Server {
	t.Helper()
	start := time.Now()
	s, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Name: "n1", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
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
