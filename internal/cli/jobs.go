package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) jobsCommand() *cobra.Command {
	jobs := &cobra.Command{
		Use:        "jobs",
		SuggestFor: []string{"cron", "crons", "job"},
		Short:      "List schedules and jobs, run what is scheduled now, stop a job",
		GroupID:    groupRun,
		Args:       noSubcommand,
	}
	jobs.AddCommand(s.jobsListCommand(), s.jobsTriggerCommand(), s.jobsStopCommand())
	// `ikada jobs` alone lists.
	list := s.jobsListCommand()
	jobs.Flags().AddFlagSet(list.Flags())
	jobs.RunE = list.RunE
	return jobs
}

func (s *shell) jobsListCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List schedules with their last and next run, and the jobs that run; also as `ikada jobs`",
		Args:  between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			list, err := c.Jobs(ctx, ref, all)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			s.printCrons(list.Crons)
			t := s.table("JOB", "NAME", "KIND", "RELEASE", "STATE", "STARTED", "TOOK", "")
			for _, j := range list.Jobs {
				t.row(j.ID, j.Title(), j.Kind, j.Release, s.out.paint(stateStyle(string(j.State)), string(j.State)),
					s.age(j.CreatedAt), s.jobTook(j), printable(j.Reason))
			}
			t.print("No job of " + ref.String() + " runs.")
			return nil
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also jobs that have ended, as far as they are kept")
	return s.reading(cmd)
}

func (s *shell) printCrons(crons []api.CronView) {
	if len(crons) == 0 {
		return
	}
	t := s.table("CRON", "SCHEDULE", "TIMEZONE", "NEXT", "LAST", "")
	for _, v := range crons {
		next, last, note := "suspended", "never", ""
		if !v.Suspended {
			next = "in " + left(v.Next.Sub(s.Now()))
		}
		if v.Last != nil {
			last = s.out.paint(stateStyle(string(v.Last.State)), string(v.Last.State)) + " " + s.age(v.Last.CreatedAt) + " ago"
		}
		if v.Skipped != "" && (v.Last == nil || v.SkippedAt.After(v.Last.CreatedAt)) {
			note = "the last was left out: " + printable(v.Skipped)
		}
		t.row(v.Service+"."+v.Name, v.Schedule, v.Timezone, next, last, note)
	}
	t.print("")
	s.say("")
}

// jobTook tells how long a job took, or has run by now.
func (s *shell) jobTook(j api.Job) string {
	switch {
	case j.StartedAt.IsZero():
		return ""
	case j.EndedAt.IsZero():
		return short(s.Now().Sub(j.StartedAt))
	}
	return precise(api.Duration(max(0, j.EndedAt.Sub(j.StartedAt))))
}

func (s *shell) jobsTriggerCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "trigger [SERVICE.]NAME",
		Short:   "Run what is scheduled under a name now, too",
		Example: "  ikada jobs trigger cleanup\n  ikada logs -f web.cleanup",
		Args:    between(1, 1),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			service, name, err := s.cronNamed(ctx, c, ref, args[0])
			if err != nil {
				return err
			}
			j, err := c.TriggerCron(ctx, ref, service, name)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(j)
			}
			s.say("%s", j.ID)
			return nil
		}),
	})
}

// cronNamed gives the cron that a name means: "cleanup", or "web.cleanup" where several services have one.
func (s *shell) cronNamed(ctx context.Context, c *client.Client, ref api.EnvRef, given string) (service, name string, err error) {
	list, err := c.Jobs(ctx, ref, false)
	if err != nil {
		return "", "", err
	}
	var found, all []string
	for _, v := range list.Crons {
		title := v.Service + "." + v.Name
		all = append(all, title)
		if title == given || v.Name == given {
			found = append(found, title)
			service, name = v.Service, v.Name
		}
	}
	switch {
	case len(found) > 1:
		return "", "", usagef("which one? name one of %s", strings.Join(found, ", "))
	case len(all) == 0:
		return "", "", api.Errorf(api.NotFound, "%s has no crons", ref)
	case len(found) == 0:
		return "", "", api.Errorf(api.NotFound, "%s has no cron %s; expected one of %s", ref, given, strings.Join(all, ", "))
	}
	return service, name, nil
}

func (s *shell) jobsStopCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:   "stop JOB",
		Short: "Stop a job, by its ID or the beginning of it",
		Args:  between(1, 1),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			j, err := c.StopJob(ctx, ref, args[0])
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(j)
			}
			s.say("%s", fmt.Sprintf("%s (%s) is being stopped.", j.Title(), j.ID))
			return nil
		}),
	})
}
