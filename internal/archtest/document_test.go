package archtest

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents gives the pages for readers, by path from the root.
func documents(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(root, f)
			if err != nil {
				t.Fatal(err)
			}
			out[rel] = string(b)
		}
	}
	return out
}

// TestDocumentsNameWhatThereIs holds the tests, files and pages that the documents name against the tree: an invariant
// whose test was renamed away would look as if it were still held.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	const root = "../.."
	tests := map[string]bool{}
	for _, p := range load(t).sorted() {
		for _, f := range p.files {
			for _, d := range f.tree.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && f.test {
					tests[fn.Name.Name] = true
				}
			}
		}
	}
	test := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	file := regexp.MustCompile("`((?:api|client|cmd|internal|e2e|examples|packaging)/[\\w./-]*\\w)`")
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)|(?m)^\[[^\]]+\]: ([^:\s]+)$`)
	for name, text := range documents(t, root) {
		for _, m := range test.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s names the test %s, which is not there", name, m[1])
			}
		}
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: %v", name, m[1], err)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := strings.TrimSpace(m[1] + m[2])
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s: %v", name, target, err)
			}
		}
	}
}
