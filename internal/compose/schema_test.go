package compose

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDirectoriesWithAnyName loads an app in directories whose paths are no URLs, each in a process of its own: which
// working directory it has when it loads its first app is what matters.
func TestDirectoriesWithAnyName(t *testing.T) {
	const inside = "IKADA_TEST_LOAD"
	if os.Getenv(inside) != "" {
		before, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		p := mustLoad(t, Options{Files: []string{"compose.yaml"}})
		if _, err := Load(t.Context(), Options{Files: []string{"bad.yaml"}}); err == nil {
			t.Error("what is wrong with a file was not found")
		}
		after, err := os.Getwd()
		if err != nil || after != before {
			t.Errorf("working directory %s became %s, %v", before, after, err)
		}
		fmt.Printf("loaded %s from %s\n", p.Spec.App, p.Dir)
		return
	}
	for _, name := range []string{"100%", "a%zz", "%41", "a#b", "what?", "a b", "ü:ö", "[x]"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, name, map[string]string{"shop/compose.yaml": "name: shop\n" + oneService, "shop/bad.yaml": "services: {web: {image: nginx, imagee: nginx}}\n"})
			dir = filepath.Join(dir, "shop")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDirectoriesWithAnyName$")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), inside+"=1", "PWD="+dir)
			out, err := cmd.CombinedOutput()
			if want := "loaded shop from " + dir + "\n"; err != nil || len(out) < len(want) || string(out[:len(want)]) != want {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
