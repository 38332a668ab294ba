package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ikada/ikada/"

// source is the repository's Go code.
type source struct {
	root     string // of the repository
	fset     *token.FileSet
	packages map[string]*pkg // by directory below the root
}

// pkg is a directory of Go files.
type pkg struct {
	dir   string
	name  string // "" when it has test files only
	files []*file
}

type file struct {
	path  string // below the root
	test  bool
	lines int
	tree  *ast.File
}

// load parses every Go file of the repository.
func load(t *testing.T) *source {
	t.Helper()
	s := &source{root: filepath.Join("..", ".."), fset: token.NewFileSet(), packages: map[string]*pkg{}}
	err := filepath.WalkDir(s.root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if base := e.Name(); name != s.root && (base == "testdata" || base == "bin" || base == "examples" || strings.HasPrefix(base, ".")) {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != s.root {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		return s.add(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.packages) < 30 {
		t.Fatalf("found only %d packages: the walk is wrong", len(s.packages))
	}
	return s
}

func (s *source) add(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(s.root, name)
	if err != nil {
		return err
	}
	tree, err := parser.ParseFile(s.fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(rel)
	p := s.packages[dir]
	if p == nil {
		p = &pkg{dir: dir}
		s.packages[dir] = p
	}
	f := &file{path: rel, test: strings.HasSuffix(rel, "_test.go"), lines: bytes.Count(text, []byte("\n")), tree: tree}
	if !f.test {
		p.name = tree.Name.Name
	}
	p.files = append(p.files, f)
	return nil
}

// sorted gives the packages in the order of their directories.
func (s *source) sorted() []*pkg {
	var all []*pkg
	for _, p := range s.packages {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(a.dir, b.dir) })
	return all
}

// imports gives what the package's own files import, or with tests its test files too; sorted.
func (p *pkg) imports(tests bool) []string {
	var all []string
	for _, f := range p.files {
		if f.test && !tests {
			continue
		}
		for _, i := range f.tree.Imports {
			if v, err := strconv.Unquote(i.Path.Value); err == nil {
				all = append(all, v)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// matches tells whether a path is that of the pattern, or below it where the pattern ends in "/...".
func matches(pattern, name string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return name == pattern
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

// deps gives everything that a package is built of, through others too.
func deps(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", module+dir)
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list what %s is built of: %v\n%s", dir, err, &stderr)
	}
	return strings.Fields(string(out))
}
