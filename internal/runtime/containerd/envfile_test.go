package containerd

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

// TestEnvFile holds that a process and the commands beside it have variables that stand in no file on disk.
func TestEnvFile(t *testing.T) {
	in := newInstance(t, nil)
	const secret = "s3cr3t-in-memory"
	memory, err := os.MkdirTemp("/dev/shm", "ikada-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	file := filepath.Join(memory, "env")
	if err := os.WriteFile(file, []byte("TOKEN="+secret+"\x00"), 0o400); err != nil {
		t.Fatal(err)
	}
	spec := command(in.subject().Sleep())
	spec.Env, spec.SecretEnv = map[string]string{"TOKEN": "plain", "OWN": "yes"}, map[string]string{"TOKEN": "token"}
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "c", Image: in.image, Spec: spec, EnvFile: file})

	var out bytes.Buffer
	code, err := in.runtime.Exec(t.Context(), "c", agent.Exec{Args: []string{"sh", "-c", "tr '\\0' '\\n' < /proc/1/environ; echo --; env"}, Stdout: &out})
	if err != nil || code != 0 {
		t.Fatalf("exec gives %d, %v", code, err)
	}
	first, own, _ := strings.Cut(out.String(), "--\n")
	for who, text := range map[string]string{"process": first, "command": own} {
		vars := strings.Split(text, "\n")
		if !slices.Contains(vars, "TOKEN="+secret) || !slices.Contains(vars, "OWN=yes") || strings.Contains(text, "plain") {
			t.Errorf("%s has %q", who, vars)
		}
	}
	for _, dir := range []string{in.cfg.DataDir, in.cfg.stateDir()} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // it has just gone
			}
			if raw, err := os.ReadFile(path); err == nil && bytes.Contains(raw, []byte(secret)) {
				t.Errorf("%s holds the secret", path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(memory); err != nil || len(left) != 1 {
		t.Errorf("left in memory: %v, %v", left, err)
	}
}
