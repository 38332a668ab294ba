package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/spf13/cobra"
)

var (
	commandBlock  = regexp.MustCompile(`(?m)^(?: {4}|)((?:IKADA_\w+=\S+ )*(?:bin/)?ikada (?:.*\\\n)*.*)$`)
	commandInText = regexp.MustCompile("`((?:bin/)?ikada [^`\n]+)`")
	commandWithin = regexp.MustCompile(`(?:&&|while sh -c '|while) ((?:bin/)?ikada [^&']+)`)
	assignment    = regexp.MustCompile(`^IKADA_\w+=`)
)

// TestCommandsInDocuments parses every command line that the documents and the commands' own examples show: the names
// of commands and flags, their values, the number of arguments. Nothing is run.
func TestCommandsInDocuments(t *testing.T) {
	shown := 0
	check := func(where, line string, whole bool) {
		shown++
		if problem := misread(line, whole); problem != "" {
			t.Errorf("%s: %s: %s", where, strings.TrimSpace(line), problem)
		}
	}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../examples/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			for _, m := range commandInText.FindAllStringSubmatch(text, -1) {
				check(file, strings.ReplaceAll(m[1], `\|`, "|"), false)
			}
			if filepath.Base(file) == filepath.Base(documentFile) {
				continue // its blocks are usage lines, and the examples that are read below
			}
			for _, m := range commandBlock.FindAllStringSubmatch(inBlocks(text), -1) {
				check(file, m[1], true)
				for _, inner := range commandWithin.FindAllStringSubmatch(m[1], -1) {
					check(file, inner[1], true)
				}
			}
		}
	}
	var examples func(c *cobra.Command)
	examples = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			if line = strings.TrimSpace(line); line != "" {
				check("example of "+c.CommandPath(), line, true)
			}
		}
		for _, sub := range c.Commands() {
			examples(sub)
		}
	}
	examples(newShell(Options{Environ: map[string]string{}}).root())
	if shown < 150 {
		t.Errorf("only %d command lines were found", shown)
	}
}

// TestMisread holds that the test above would find something.
func TestMisread(t *testing.T) {
	for line, want := range map[string]string{
		"ikada deploy ./shop --env staging":                         "",
		"ikada lock staging --while sh -c 'ikada deploy && ./test'": "",
		"ikada run web -- bin/migrate --all":                        "",
		"ikada secret set db-url < db-url.txt":                      "",
		"IKADA_ENV=staging ikada env ttl pr-12 3d # a comment":      "",
		"ikada jobs --all":                                          "",
		"ikada delpoy":                                              "no such command",
		"ikada env remove-all":                                      "no such command",
		"ikada deploy --no-such-flag":                               "unknown flag",
		"ikada env ttl pr-12":                                       "takes 2",
		"ikada top --by":                                            "needs an argument",
		"ikada token create ci --expires soon":                      "expected a number with a unit",
		"ikada secret set 'db-url":                                  "EOF",
	} {
		if got := misread(line, true); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, expected %q", line, got, want)
		}
	}
	for line, want := range map[string]string{"ikada deploy --ttl": "", "ikada env ttl": "", "ikada deploy --tl": "no flag --tl", "ikada deploi": "no such command"} {
		if got := misread(line, false); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, expected %q", line, got, want)
		}
	}
}

// inBlocks gives the text of code blocks, fenced and indented, with the prose around them left out.
func inBlocks(text string) string {
	var out strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if fenced || strings.HasPrefix(line, "    ") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// misread says what is wrong with a command line; "" is nothing. What stands in running text need not be whole.
func misread(line string, whole bool) string {
	for _, cut := range []string{" < ", " > "} {
		line, _, _ = strings.Cut(line, cut)
	}
	line = strings.NewReplacer("[", "", "]", "", "\\\n", "").Replace(line)
	words, err := shlex.Split(line)
	if err != nil {
		return err.Error()
	}
	for assignment.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) > 1 && words[1] == "proxy" {
		return "" // what a node starts besides itself; no command of the command line
	}
	root := newShell(Options{Environ: map[string]string{}}).root()
	cmd, rest, err := root.Find(words[1:])
	if err != nil {
		return err.Error()
	}
	group := cmd.HasSubCommands() && !strings.Contains(cmd.Use, " ") // else it takes arguments of its own
	if cmd == root || group && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return "no such command"
	}
	if !whole {
		if at := slices.Index(rest, "--"); at >= 0 {
			rest = rest[:at]
		}
		for len(rest) > 0 && strings.HasPrefix(rest[len(rest)-1], "-") {
			last := strings.TrimLeft(strings.SplitN(rest[len(rest)-1], "=", 2)[0], "-")
			if cmd.Flag(last) == nil && (len(last) != 1 || cmd.Flags().ShorthandLookup(last) == nil && cmd.InheritedFlags().ShorthandLookup(last) == nil) {
				return "there is no flag " + rest[len(rest)-1]
			}
			rest = rest[:len(rest)-1] // it may be named without its value
		}
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err.Error()
	}
	if whole {
		if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
			return err.Error()
		}
	}
	return ""
}
