package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
)

// A key that is gone is made anew only where it can have sealed nothing.
func TestKeyThatIsGone(t *testing.T) {
	cfg := Config{DataDir: t.TempDir()}
	if _, err := loadKey(cfg); err != nil {
		t.Fatalf("a new node: %v", err)
	}
	if err := os.Mkdir(cfg.dir("etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKey(cfg); err != nil {
		t.Fatalf("a node with state and its key: %v", err)
	}
	path := filepath.Join(cfg.DataDir, auth.KeyFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := loadKey(cfg)
	if !api.IsKind(err, api.NotFound) || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("a node with state and no key: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a new key was made")
	}
	if err := os.WriteFile(path, make([]byte, 32), 0o600); err != nil { // as the error says
		t.Fatal(err)
	}
	if _, err := loadKey(cfg); err != nil {
		t.Errorf("with a new key: %v", err)
	}
}
