package audit

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, cfg Config) *Log {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func read(t *testing.T, l *Log, q api.AuditQuery) string {
	t.Helper()
	list, err := l.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range list {
		out = append(out, r.Request)
	}
	return strings.Join(out, " ")
}

func record(n int) api.AuditRecord {
	return api.AuditRecord{Time: start.Add(time.Duration(n) * time.Minute), User: "ann", Operation: "deploy", Request: fmt.Sprint(n)}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, Config{Dir: dir})
	for n := range 3 {
		l.Record(record(n))
	}
	// Killed in the middle of a line: nothing was closed.
	f, err := os.OpenFile(filepath.Join(dir, current), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"time":"2026-11-22T12:03`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	l = open(t, Config{Dir: dir})
	l.Record(record(4))
	if got := read(t, l, api.AuditQuery{}); got != "0 1 2 4" {
		t.Errorf("records %q", got)
	}
	if got := read(t, l, api.AuditQuery{Since: start.Add(2 * time.Minute)}); got != "2 4" {
		t.Errorf("since: %q", got)
	}
	if got := read(t, l, api.AuditQuery{Limit: 2}); got != "2 4" {
		t.Errorf("limit: %q", got)
	}
	info, err := os.Stat(filepath.Join(dir, current))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestLogIsBounded(t *testing.T) {
	dir, now := t.TempDir(), start
	cfg := Config{Dir: dir, MaxBytes: 400, MaxFiles: 3, MaxAge: time.Hour, Now: func() time.Time { return now }}
	l := open(t, cfg)
	for n := range 50 {
		now = now.Add(time.Second)
		l.Record(record(n))
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("%d files, %v; expected 3 put aside and the current one", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > 400 {
			t.Errorf("%s has %d bytes, %v", e.Name(), info.Size(), err)
		}
	}
	all := strings.Fields(read(t, l, api.AuditQuery{}))
	if len(all) < 4 || all[len(all)-1] != "49" {
		t.Fatalf("records %v", all)
	}
	for i := 1; i < len(all); i++ {
		var a, b int
		_, _ = fmt.Sscan(all[i-1], &a)
		_, _ = fmt.Sscan(all[i], &b)
		if b != a+1 {
			t.Errorf("after %d comes %d", a, b)
		}
	}
	if got := read(t, l, api.AuditQuery{Limit: 5}); got != "45 46 47 48 49" {
		t.Errorf("limit over several files: %q", got)
	}
	now = now.Add(2 * time.Hour)
	if err := l.tidy(); err != nil {
		t.Fatal(err)
	}
	if names, err := l.aside(); err != nil || len(names) != 0 {
		t.Errorf("%v are kept past their age, %v", names, err)
	}
}

func TestRecordsFromMany(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), MaxBytes: 1000, MaxFiles: 1000})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				l.Record(record(i*50 + j))
				if j%10 == 0 {
					if _, err := l.Read(t.Context(), api.AuditQuery{Limit: 3}); err != nil {
						t.Error(err)
					}
					l.flush()
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for n := range strings.FieldsSeq(read(t, l, api.AuditQuery{})) {
		seen[n] = true
	}
	if len(seen) != 400 {
		t.Errorf("%d of 400 records", len(seen))
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := Open(Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for b.Loop() {
		l.Record(record(1))
	}
}
