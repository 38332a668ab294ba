package shimexit

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "exits")
	if _, ok, err := Read(dir, "a"); ok || err != nil {
		t.Fatalf("no record gives %v, %v", ok, err)
	}
	want := Record{ID: "a", Code: 137, OOM: true, At: time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC)}
	for range 2 {
		if err := Write(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok, err := Read(dir, "a"); !ok || err != nil || got != want {
		t.Fatalf("got %+v, %v, %v", got, ok, err)
	}
	// What a shim that was killed while writing leaves is not taken for a record.
	if err := os.WriteFile(filepath.Join(dir, ".b.123"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := List(dir); err != nil || !slices.Equal(ids, []string{"a"}) {
		t.Fatalf("list gives %v, %v", ids, err)
	}
	for range 2 {
		if err := Remove(dir, "a"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutput(t *testing.T) {
	want := Output{LogDir: "/var/lib/a b/logs/é?#%", MaxSize: 10 << 20, MaxFiles: 3, ExitDir: "/x&y=z"}
	if got, ok, err := ParseOutput(want.URI()); !ok || err != nil || got != want {
		t.Errorf("got %+v, %v, %v from %s", got, ok, err, want.URI())
	}
	none := Output{MaxSize: 1, MaxFiles: 1, ExitDir: "/x"}
	if got, ok, err := ParseOutput(none.URI()); !ok || err != nil || got != none {
		t.Errorf("got %+v, %v, %v from %s", got, ok, err, none.URI())
	}
	if _, ok, err := ParseOutput("/run/fifo"); ok || err != nil {
		t.Errorf("another address: %v, %v", ok, err)
	}
	if _, ok, err := ParseOutput("ikada-log:///x?max-size=much"); !ok || err == nil {
		t.Errorf("a broken address: %v, %v", ok, err)
	}
}

// A crash of the machine may leave anything in a record; it is as good as none, and the next one takes its place.
func TestDamagedRecord(t *testing.T) {
	for name, damaged := range map[string]string{
		"empty": "", "half": `{"id":"a","co`, "zeros": "\x00\x00\x00\x00", "another's": `{"id":"b","code":1}`, "no object": "3",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(Path(dir, "a"), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := Read(dir, "a"); ok || err != nil {
			t.Errorf("%s: gives %+v, %v, %v", name, got, ok, err)
		}
		if err := Write(dir, Record{ID: "a", Code: 3}); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := Read(dir, "a"); !ok || err != nil || got.Code != 3 {
			t.Errorf("%s: after it was written again %+v, %v, %v", name, got, ok, err)
		}
	}
}
