package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) failuresCommand() *cobra.Command {
	var follow bool
	q := api.FailureQuery{}
	cmd := &cobra.Command{
		Use:        "failures",
		SuggestFor: []string{"errors"},
		Short:      "Show which requests failed, at which task and step, and why",
		GroupID:    groupLook,
		Example:    "  ikada failures\n  ikada failures -f --env staging\n  ikada failures -n 1000 --json",
		Args:       between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			if q.Last < 1 || q.Last > api.MaxFailures {
				return usagef("--last %d: expected 1 to %d", q.Last, api.MaxFailures)
			}
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			return s.showFailures(ctx, c, ref, q, follow)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new failures")
	cmd.Flags().IntVarP(&q.Last, "last", "n", 20, "only the last so many")
	return s.reading(cmd)
}

func (s *shell) showFailures(ctx context.Context, c *client.Client, ref api.EnvRef, q api.FailureQuery, follow bool) error {
	show := s.printFailure
	if s.json {
		show = func(f api.Failure) error { return s.printLine(f) }
	}
	if follow {
		return ended(ctx, follow, c.FollowFailures(ctx, ref, q, show))
	}
	list, err := c.Failures(ctx, ref, q)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		s.say("No request of %s has failed that the balancer knows of.", ref)
	}
	for _, f := range slices.Backward(list) {
		if err := show(f); err != nil {
			return err
		}
	}
	return nil
}

// printFailure writes one line: when, who, what was asked, what the client got, and why.
func (s *shell) printFailure(f api.Failure) error {
	asked := "TCP " + f.Route
	if f.Method != "" {
		asked = f.Method + " " + f.Host + f.Path
	}
	status := "-"
	if f.Status != 0 {
		status = strconv.Itoa(f.Status)
	}
	details := []string{"waited " + precise(f.Waited)}
	if f.Kind != "" {
		details = append([]string{f.Kind}, details...)
	}
	if f.Retries > 0 {
		details = append(details, fmt.Sprintf("tried %d times", f.Retries+1))
	}
	if f.Release > 0 {
		details = append(details, fmt.Sprintf("release %d", f.Release))
	}
	if f.ID != "" {
		details = append(details, "request "+f.ID)
	}
	t := s.out
	_, err := fmt.Fprintf(t, "%s %s %s %s: %s: %s %s\n", t.paint(dim, f.Time.Local().Format(time.DateTime)),
		t.paint(bold, taskOf(f.Service, f.Task, f.Slot)), t.paint(red, status), printable(asked), f.Step, printable(f.Error),
		t.paint(dim, "("+printable(strings.Join(details, ", "))+")"))
	return err
}

// taskOf names a task as well as it can be: "web.1", or by its ID where its slot is not known any more. A service alone
// stands for requests that found no task.
func taskOf(service, task string, slot int) string {
	switch {
	case slot > 0:
		return fmt.Sprintf("%s.%d", service, slot)
	case task != "":
		return service + " " + shortID(task)
	}
	return cmp.Or(service, "-")
}
