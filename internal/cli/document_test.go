package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const documentFile = "../../docs/cli.md"

// TestDocumentIsCurrent holds docs/cli.md against the commands; `go test ./internal/cli -run Document -update` writes it.
func TestDocumentIsCurrent(t *testing.T) {
	s := newShell(Options{Environ: map[string]string{}})
	want := document(s.root())
	if *update {
		if err := os.WriteFile(documentFile, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/cli.md is not what the commands say; run: go test ./internal/cli -run Document -update")
	}
}

const documentHead = `# Commands

Made from the commands themselves by ` + "`go test ./internal/cli -run Document -update`" + `; a test holds it current.

Every command that reads takes ` + "`--json`" + `. Progress and errors go to standard error, results to standard output.
Colours and live views appear on a terminal only, and never with ` + "`NO_COLOR`" + ` set.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | error |
| 2 | usage: the command line is wrong |
| 3 | the release was taken back |
| 4 | the deployment was cancelled, or superseded by a newer one |
| 5 | timed out; what was asked for may still go on |

` + "`ikada exec`" + ` and ` + "`ikada run`" + ` pass on the exit code of the command that they ran; 127 is one that is not there, 126 one that cannot be run.

| variable | meaning |
|---|---|
| ` + "`IKADA_HOST`" + ` | server, as for ` + "`--host`" + ` |
| ` + "`IKADA_TOKEN`" + ` | token for a server that is reached over TCP |
| ` + "`IKADA_FINGERPRINT`" + `, ` + "`IKADA_CA_FILE`" + ` | how the server's certificate is known, as for ` + "`--fingerprint`" + ` and ` + "`--ca-file`" + ` |
| ` + "`IKADA_APP`" + `, ` + "`IKADA_ENV`" + ` | app (or APP/ENVIRONMENT) and environment, as for ` + "`--app`" + ` and ` + "`--env`" + ` |
| ` + "`IKADA_LOCK`" + ` | lock under which a command runs; set by ` + "`ikada lock --while`" + ` |
| ` + "`IKADA_DATA_DIR`" + ` | data directory, as for ` + "`--data-dir`" + ` |

`

// document is the whole page: the global flags, then every command in the order and the groups of the help.
func document(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(documentHead)
	b.WriteString("## Flags of every command\n\n")
	documentFlags(&b, root.PersistentFlags())
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "## %s\n\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				documentCommand(&b, c)
			}
		}
	}
	b.WriteString("## Further\n\n")
	for _, c := range root.Commands() {
		if c.GroupID == "" && !c.Hidden && c.Name() != "help" {
			documentCommand(&b, c)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func documentCommand(b *strings.Builder, c *cobra.Command) {
	if c.HasAvailableSubCommands() {
		for _, sub := range c.Commands() {
			documentCommand(b, sub)
		}
		return
	}
	fmt.Fprintf(b, "### %s\n\n", c.CommandPath())
	text := c.Short + "."
	if c.Long != "" && c.Root().Name() == "ikada" && c.Parent().Name() != "completion" {
		text = c.Long
	}
	fmt.Fprintf(b, "%s\n\n    %s\n\n", text, c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(b, "Examples:\n\n%s\n\n", indentCode(c.Example))
	}
	documentFlags(b, c.LocalNonPersistentFlags())
}

// indentCode makes a code block of an example, however far that was indented.
func indentCode(text string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		lines = append(lines, "    "+strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

func documentFlags(b *strings.Builder, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	b.WriteString("| flag | meaning |\n|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		text := f.Usage
		switch f.DefValue {
		case "", "false", "[]", "0", "0s":
		default:
			text += fmt.Sprintf(" (default `%s`)", f.DefValue)
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(text, "|", "\\|"))
	})
	b.WriteString("\n")
}
