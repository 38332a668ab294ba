package archtest

import (
	"go/ast"
	"strconv"
	"strings"
	"testing"
)

// pure is what of the standard library a planner may use: nothing in it does I/O, or keeps state, or is random. Of time,
// fmt and net it may use the values and not what reads the clock, prints, or connects; see impure.
var pure = map[string]bool{
	"cmp": true, "encoding/json": true, "errors": true, "fmt": true, "hash/fnv": true, "iter": true, "maps": true,
	"math": true, "math/bits": true, "net": true, "net/netip": true, "path": true, "reflect": true, "slices": true,
	"sort": true, "strconv": true, "strings": true, "time": true, "unicode": true, "unicode/utf8": true,
}

// impure is what a planner may not call of the packages that it may import.
var impure = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation"},
	"fmt":  {"Print", "Printf", "Println", "Fprint", "Fprintf", "Fprintln", "Scan", "Scanf", "Scanln"},
}

// pureNet is all that a planner may use of net, which but for this does I/O.
var pureNet = map[string]bool{"JoinHostPort": true, "SplitHostPort": true, "ParseIP": true, "ParseCIDR": true, "IP": true}

func TestPlannersArePure(t *testing.T) {
	s := load(t)
	planners := 0
	for _, p := range s.sorted() {
		if !matches("internal/plan/...", p.dir) || p.name == "" {
			continue
		}
		planners++
		for _, imported := range p.imports(false) {
			if !pure[imported] && imported != module+"api" && !strings.HasPrefix(imported, module+"internal/plan/") {
				t.Errorf("%s imports %s: a planner has neither I/O nor clock nor random source nor log", p.dir, imported)
			}
		}
		for _, f := range p.files {
			if !f.test {
				s.checkPure(t, f)
			}
		}
	}
	if planners < 3 {
		t.Errorf("found %d planners: the pattern is wrong", planners)
	}
}

// checkPure reports calls of the world outside, goroutines, and package variables that functions could share.
func (s *source) checkPure(t *testing.T, f *file) {
	t.Helper()
	names := map[string]string{} // as the file calls them → path
	for _, i := range f.tree.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := p[strings.LastIndex(p, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = p
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
			t.Errorf("%s: a planner is one straight computation: no goroutine, no channel", s.fset.Position(n.Pos()))
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			imported := names[x.Name]
			for _, bad := range impure[imported] {
				if n.Sel.Name == bad {
					t.Errorf("%s: %s.%s in a planner: what it needs to know comes in its argument", s.fset.Position(n.Pos()), imported, bad)
				}
			}
			if imported == "net" && !pureNet[n.Sel.Name] {
				t.Errorf("%s: net.%s in a planner", s.fset.Position(n.Pos()), n.Sel.Name)
			}
		}
		return true
	})
}
