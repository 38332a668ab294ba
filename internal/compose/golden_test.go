package compose

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares with a file, or writes it under -update.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs; run the test with -update and look at the diff\ngot:\n%s", file, got)
	}
}

// TestGolden loads each directory of testdata/apps and compares the whole project.
func TestGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/apps/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no apps: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			environ := map[string]string{"TAG": "1.27", "API_TOKEN": "from the caller", "PASSED": "through"}
			p, err := Load(t.Context(), Options{Dir: dir, Env: "staging", Environ: environ, Platform: "linux/amd64"})
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			root, err := filepath.Abs(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(string(text), root, "/app") + "\n"
			golden(t, filepath.Join(dir, "project.golden"), []byte(got))
		})
	}
}
