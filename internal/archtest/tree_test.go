package archtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTreeIsPlain finds what belongs to one machine: settings of a module proxy or a package mirror, a module that is
// replaced by a directory, and compiled programs. Whoever clones the tree builds it with their own.
func TestTreeIsPlain(t *testing.T) {
	root := filepath.Join("..", "..")
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	settings := regexp.MustCompile(`\b(GO(PROXY|SUMDB|NOSUMDB|NOPROXY|INSECURE)|npm_config_registry|PIP_INDEX_URL)\b|_authToken`)
	replaced := regexp.MustCompile(`(?m)^\s*replace\b`)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if strings.HasPrefix(name, "internal/archtest/") || name == "" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // deleted and not yet committed, or a link to nowhere
		}
		if bytes.HasPrefix(text, []byte("\x7fELF")) {
			t.Errorf("%s is a compiled program of %d bytes: git rm --cached it, and let .gitignore name it", name, len(text))
			continue
		}
		if found := settings.Find(text); found != nil {
			t.Errorf("%s: %s", name, found)
		}
		if filepath.Base(name) == "go.mod" && replaced.Match(text) {
			t.Errorf("%s replaces a module", name)
		}
	}
}
