package archtest

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
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
	anchor := regexp.MustCompile(`\]\(([^)#:]*)#([^)]+)\)`)
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)|(?m)^\[[^\]]+\]: ([^:\s]+)$`)
	pages := documents(t, root)
	for name := range pages {
		if strings.HasPrefix(name, "docs/") && !strings.Contains(pages["README.md"], "]("+name+")") {
			t.Errorf("README.md does not lead to %s", name)
		}
	}
	for name, text := range pages {
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
		for _, m := range anchor.FindAllStringSubmatch(text, -1) {
			page := name
			if m[1] != "" {
				page = filepath.Join(filepath.Dir(name), m[1])
			}
			if target, known := pages[page]; known && !headings(target)[m[2]] {
				t.Errorf("%s links to #%s, but %s has no such heading", name, m[2], page)
			}
		}
	}
}

// headings gives the anchors of a page as GitHub makes them: lowercase, without punctuation, '-' for a space.
func headings(text string) map[string]bool {
	out := map[string]bool{}
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])] = true
	}
	return out
}
