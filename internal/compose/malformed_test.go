package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// malformedCases reads testdata/malformed.txt: pairs of the field to name and the file.
func malformedCases(t testing.TB) [][2]string {
	t.Helper()
	raw, err := os.ReadFile("testdata/malformed.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases [][2]string
	for _, block := range strings.Split(string(raw), "\n== ")[1:] {
		field, text, _ := strings.Cut(block, "\n")
		if attribute, ok := strings.CutPrefix(text, "+ "); ok {
			text = "services:\n  web:\n"
			if !strings.HasPrefix(attribute, "image:") {
				text += "    image: nginx\n"
			}
			text += "    " + attribute + "\n"
		}
		cases = append(cases, [2]string{field, text})
	}
	return cases
}

// TestMalformed holds that each malformed file brings an error of kind Invalid that begins with the field to blame.
// The whole sentences are kept in testdata/malformed.golden for review.
func TestMalformed(t *testing.T) {
	cases := malformedCases(t)
	if len(cases) < 200 {
		t.Fatalf("only %d malformed files", len(cases))
	}
	var sentences strings.Builder
	for i, c := range cases {
		dir := filepath.Join(t.TempDir(), "shop")
		file := filepath.Join(dir, "compose.yaml")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(c[1]), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := Load(t.Context(), Options{Dir: dir, Platform: "linux/amd64"})
		switch {
		case err == nil:
			t.Errorf("case %d: no error, wanted one of %s\n%s\n%+v", i, c[0], c[1], p.Spec)
			continue
		case !api.IsKind(err, api.Invalid):
			t.Errorf("case %d: kind %s: %v", i, api.KindOf(err), err)
		case !strings.HasPrefix(err.Error(), c[0]):
			t.Errorf("case %d: the error does not name %s:\n%v\n%s", i, c[0], err, c[1])
		case len(err.Error()) <= len(c[0])+3:
			t.Errorf("case %d: the error says nothing: %v", i, err)
		case strings.Contains(err.Error(), dir):
			t.Errorf("case %d: the error names a temporary directory: %v", i, err)
		}
		fmt.Fprintf(&sentences, "%s\n", err)
	}
	golden(t, "testdata/malformed.golden", []byte(sentences.String()))
}
