package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) checksCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:   "checks [DEPLOYMENT]",
		Short: "Show how a release's own checks do, those of the last deployment by default",
		Long: "Show how a release's own checks do, those of the last deployment by default.\n\n" +
			"A check is a query, an HTTP request or a command that the app's file names; it is asked while its release rolls out\n" +
			"and for as long as that is judged.",
		GroupID:           groupLook,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeDeployments,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			d, err := s.deploymentNamed(ctx, c, ref, args)
			if err != nil {
				return err
			}
			if s.json {
				if d.Checks == nil {
					d.Checks = []api.CheckResult{}
				}
				return s.printJSON(d.Checks)
			}
			t := s.table("CHECK", "KIND", "RESULT", "PASSED", "FAILED", "UNKNOWN", "LAST", "SAID", "ASKED")
			for i := range d.Checks {
				r := &d.Checks[i]
				last := "-"
				if !r.At.IsZero() {
					last = s.age(r.At) + " ago"
				}
				result := cmp.Or(r.Result, "not asked")
				t.row(r.Title(), r.Kind, s.out.paint(checkStyle(result), result), fmt.Sprint(r.Passed), fmt.Sprint(r.Failed), fmt.Sprint(r.Unknown),
					last, printable(checkSays(r)), printable(r.Asked))
			}
			t.print(fmt.Sprintf("Deployment %d of %s has no checks.", d.Number, ref))
			return nil
		}),
	})
}

// checkSays is a check's last answer in words.
func checkSays(r *api.CheckResult) string {
	text := r.Reason
	if r.Result == api.VerdictFail && r.InRow > 1 {
		text += fmt.Sprintf(", %d of %d in a row", r.InRow, r.Limit)
	}
	if r.Excused && r.Baseline != nil {
		text += fmt.Sprintf(", as on release %d: that takes nothing back", r.Baseline.Release)
	}
	return text
}

// checkLine is a check in one line.
func checkLine(r *api.CheckResult) string {
	text := r.Title() + ": " + cmp.Or(r.Result, "not asked yet")
	if says := checkSays(r); says != "" {
		text += ": " + says
	}
	return text
}

// checkNews is what is worth a line of its own when it changes: not each number of a check that goes well.
func checkNews(r *api.CheckResult) string {
	if r.Result == api.VerdictPass {
		return r.Title() + ": " + r.Result
	}
	return checkLine(r)
}

func checkStyle(result string) string {
	switch result {
	case api.VerdictPass:
		return green
	case api.VerdictFail:
		return red
	}
	return yellow
}
