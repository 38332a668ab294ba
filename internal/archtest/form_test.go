package archtest

import (
	"go/ast"
	"path"
	"regexp"
	"strings"
	"testing"
)

// Guards, above what a reader should ask for: about 600 lines a file and 80 a function.
const (
	maxFile     = 700 // lines
	maxFunction = 100 // lines; a test's table may be twice that
)

func TestPackageDocs(t *testing.T) {
	start := regexp.MustCompile(`(?i)\bstart\s+(reading\s+)?(at|with)\b`)
	for _, p := range load(t).sorted() {
		if p.name == "" {
			continue // test files only
		}
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "Command " + path.Base(p.dir) + " "
		}
		var docs []string
		for _, f := range p.files {
			if f.tree.Doc != nil && !f.test {
				docs = append(docs, f.tree.Doc.Text())
			}
		}
		switch {
		case len(docs) != 1:
			t.Errorf("%s has %d package comments, want one", p.dir, len(docs))
		case !strings.HasPrefix(docs[0], want):
			t.Errorf("the comment of %s does not begin with %q", p.dir, want)
		case p.name != "main" && !start.MatchString(docs[0]):
			t.Errorf("the comment of %s does not tell where to start reading (\"Start at …\")", p.dir)
		}
	}
}

func TestSize(t *testing.T) {
	s := load(t)
	for _, p := range s.sorted() {
		for _, f := range p.files {
			if f.lines > maxFile && !ast.IsGenerated(f.tree) {
				t.Errorf("%s has %d lines, more than %d: is it one noun?", f.path, f.lines, maxFile)
			}
			limit := maxFunction
			if f.test {
				limit *= 2
			}
			for _, d := range f.tree.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := s.fset.Position(fn.End()).Line - s.fset.Position(fn.Pos()).Line + 1; n > limit && !ast.IsGenerated(f.tree) {
					t.Errorf("%s: %s has %d lines, more than %d", f.path, fn.Name.Name, n, limit)
				}
			}
		}
	}
}

// TestNames keeps names out that say nothing: what is in such a package or file has a noun of its own.
func TestNames(t *testing.T) {
	empty := regexp.MustCompile(`^(utils?|commons?|helpers?|types|managers?|misc|shared|base|lib)$`)
	for _, p := range load(t).sorted() {
		for _, part := range append(strings.Split(p.dir, "/"), strings.TrimSuffix(p.name, "_test")) {
			if empty.MatchString(part) {
				t.Errorf("package %s: %q says nothing of what is in it", p.dir, part)
			}
		}
		for _, f := range p.files {
			name := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
			if empty.MatchString(name) {
				t.Errorf("%s: %q says nothing of what is in it", f.path, name)
			}
		}
	}
}

// TestNoInit finds side effects of importing.
func TestNoInit(t *testing.T) {
	for _, p := range load(t).sorted() {
		for _, f := range p.files {
			for _, d := range f.tree.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init function: whoever needs it calls it", f.path)
				}
			}
		}
	}
}
