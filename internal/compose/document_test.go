package compose

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	documentFile  = "../../docs/compose.md"
	documentBegin = "<!-- attributes: made from the table in internal/compose/attributes.go -->\n"
	documentEnd   = "<!-- end of attributes -->\n"
)

// TestDocumentIsCurrent holds the tables of docs/compose.md against the one that decides;
// `go test ./internal/compose -run Document -update` writes them. The text around them is written by hand.
func TestDocumentIsCurrent(t *testing.T) {
	b, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), documentBegin)
	_, after, ended := strings.Cut(rest, documentEnd)
	if !ok || !ended {
		t.Fatalf("%s has lost the marks of its tables", documentFile)
	}
	want := before + documentBegin + documentTables() + documentEnd + after
	if *update {
		if err := os.WriteFile(documentFile, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(b) != want {
		t.Error("docs/compose.md is not what the table says; run: go test ./internal/compose -run Document -update")
	}
	for _, key := range slices.Concat(serviceKeys, laterKeys) {
		if !strings.Contains(before+after, "`"+key+"`") {
			t.Errorf("docs/compose.md does not tell of x-ikada.%s", key)
		}
	}
}

// documentTables lists every attribute, a table for each verdict.
func documentTables() string {
	words := map[verdict]string{honoured: "Honoured", warned: "Warned of", refused: "Refused"}
	says := map[verdict]string{
		honoured: "They mean what the specification says. Where a value cannot be honoured, that is refused or warned of by name.",
		warned:   "They have no effect, which does no harm: `ikada deploy` says so for each that is used.",
		refused:  "The app would behave otherwise if they were ignored: `ikada deploy` fails, names the attribute, and changes nothing.",
	}
	var b strings.Builder
	rules := attributeRules()
	for _, v := range []verdict{honoured, warned, refused} {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", words[v], says[v])
		if v == honoured {
			documentHonoured(&b, rules)
			continue
		}
		b.WriteString("| attribute | why |\n|---|---|\n")
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			if rules[name].verdict == v {
				fmt.Fprintf(&b, "| `%s` | %s |\n", name, rules[name].why)
			}
		}
	}
	b.WriteString("\n")
	return b.String()
}

// documentHonoured lists the honoured attributes by what they belong to; they have nothing more to say.
func documentHonoured(b *strings.Builder, rules map[string]rule) {
	owners := map[string][]string{}
	for name, r := range rules {
		if r.verdict != honoured || strings.HasSuffix(name, "*") {
			continue
		}
		owner, attribute := "the file", name
		for _, prefix := range []string{"services.*.build.", "services.*.deploy.", "services.*.", "networks.*.", "volumes.*.", "configs.*.", "secrets.*."} {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				owner, attribute = strings.TrimSuffix(prefix, "."), rest
				break
			}
		}
		owners[owner] = append(owners[owner], "`"+attribute+"`")
	}
	b.WriteString("| of | attributes |\n|---|---|\n")
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		slices.Sort(owners[owner])
		fmt.Fprintf(b, "| `%s` | %s |\n", owner, strings.Join(owners[owner], ", "))
	}
}

// TestDocumentsLoad loads what docs/routing.md shows: whole files, routes, and passwords.
func TestDocumentsLoad(t *testing.T) {
	b, err := os.ReadFile("../../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(b), "```yaml\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("only %d examples", len(blocks))
	}
	const environment = "ann:$2y$10$uSxkYqS8PGr1sHb0ZxG5nOGmkq0vXwBPn3mLrkZc5bB4wP1yFJx2e"
	load := func(text string) {
		t.Helper()
		dir := tree(t, "shop", map[string]string{"compose.yaml": text, ".env": "ADMIN='" + environment + "'\n"})
		if _, err := Load(t.Context(), Options{Dir: dir}); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	const service = "services:\n  web:\n    image: a\n    x-ikada:\n"
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		switch {
		case strings.HasPrefix(text, "services:"):
			load(text)
		case strings.HasPrefix(text, "route:"):
			load(service + "      " + strings.ReplaceAll(text, "\n", "\n      "))
		default:
			for line := range strings.Lines(text) {
				load(service + "      route:\n        " + line)
			}
		}
	}
}

// TestFilesInDocumentsLoad loads the whole files of the pages on environments, secrets and checks.
func TestFilesInDocumentsLoad(t *testing.T) {
	for _, page := range []string{"environments", "secrets", "checks"} {
		b, err := os.ReadFile("../../docs/" + page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		_, block, ok := strings.Cut(string(b), "```yaml\n")
		text, _, closed := strings.Cut(block, "```")
		if !ok || !closed {
			t.Fatalf("docs/%s.md has no file", page)
		}
		for _, env := range []string{"staging", "production"} {
			dir := tree(t, "shop", map[string]string{"compose.yaml": text, "production.key": "p", "staging.key": "s", "Dockerfile": "FROM scratch\n"})
			if p, err := Load(t.Context(), Options{Dir: dir, Env: env}); err != nil || len(p.Warnings) > 0 {
				t.Errorf("docs/%s.md in %s: %v", page, env, err)
			}
		}
	}
}
