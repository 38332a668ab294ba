package runtime

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUnpack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bin", "program")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	stat := func() os.FileInfo {
		t.Helper()
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode() != 0o755 {
			t.Errorf("mode is %v", fi.Mode())
		}
		return fi
	}
	if err := unpack(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	first := stat()
	if err := unpack(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(first, stat()) {
		t.Error("a file with the same content was replaced")
	}
	if err := unpack(path, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if os.SameFile(first, stat()) {
		t.Error("a file with other content was written over: whoever runs it would be hurt")
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
