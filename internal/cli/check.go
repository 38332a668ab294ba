package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (s *shell) checkCommand() *cobra.Command {
	var o UpOptions
	return s.reading(s.upFlags(&cobra.Command{
		Use:     "check",
		Short:   "Tell what this machine lacks to run a node, and the remedy",
		GroupID: groupNode,
		Args:    between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			if s.Daemon.Check == nil {
				return absent("check")
			}
			findings, err := s.Daemon.Check(ctx, o)
			if err != nil {
				return err
			}
			if s.json {
				if err := s.printJSON(findings); err != nil {
					return err
				}
			}
			fatal := 0
			for _, f := range findings {
				if !f.OK && f.Fatal {
					fatal++
				}
				s.printFinding(f)
			}
			if fatal > 0 {
				return &exitError{ExitError, fmt.Errorf("a node cannot run here: %s to mend", plural(fatal, "thing"))}
			}
			return nil
		}),
	}, &o))
}

func (s *shell) printFinding(f Finding) {
	if f.OK {
		s.say("%s %s", s.out.paint(green, "✓"), f.Name)
		return
	}
	mark, style := "!", yellow
	if f.Fatal {
		mark, style = "✗", red
	}
	s.say("%s %s: %s", s.out.paint(style, mark), f.Name, f.Problem)
	if f.Remedy != "" {
		s.say("  %s", f.Remedy)
	}
}
