package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

// waiting says for how long a command waits for the deployment that it has asked for.
type waiting struct {
	detach bool
	until  string
}

// untilDeployment has a command wait for the deployment's end, the default.
const untilDeployment = "deployment"

var waits = []string{untilDeployment, api.UntilTrial}

// add gives a command --detach and --wait.
func (w *waiting) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.detach, "detach", "d", false, "do not wait for the deployment")
	w.addUntil(cmd)
}

// addUntil gives a command --wait alone.
func (w *waiting) addUntil(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.until, "wait", untilDeployment, "`UNTIL` when to wait: deployment is its end, trial that of the time for which the release is judged behind it")
	_ = cmd.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions(waits, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
}

// check refuses what cannot be waited for.
func (w *waiting) check() error {
	switch w.until {
	case untilDeployment, api.UntilTrial, "":
	default:
		return usagef("--wait %q: expected %s", w.until, strings.Join(waits, " or "))
	}
	if w.detach && w.trial() {
		return usagef("--detach stands beside --wait trial; expected one of them")
	}
	return nil
}

func (w *waiting) trial() bool { return w.until == api.UntilTrial }
