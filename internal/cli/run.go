package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// exitInterrupted is the exit code of a run that Ctrl-C has stopped, as a shell gives it.
const exitInterrupted = 128 + int(syscall.SIGINT)

// runFlags are what `ikada run` takes.
type runFlags struct {
	set         []string
	entrypoint  string
	timeout     time.Duration
	detach      bool
	interactive bool
	tty         bool
}

func (s *shell) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:     "run [-it] SERVICE [--] COMMAND [ARG...]",
		Short:   "Run a command once in a fresh task of a service; exits as the command does",
		GroupID: groupRun,
		Long: `Run a command once in a fresh task of a service, with the committed release's image, environment, limits, secrets,
mounts and networks, and exit as the command does. Nothing calls such a task, nothing checks it, and it is never
restarted. Its output is kept: see ` + "`ikada jobs --all`" + ` and ` + "`ikada logs JOB`" + `.

With -i or -t the command has this terminal in place of a log. Ctrl-C stops it; so does the end of this program, within
half a minute, unless --detach is given.`,
		Example:           "  ikada run web -- bin/migrate --all\n  ikada run -it web sh\n  ikada run -e DRY_RUN=1 --timeout 10m web -- bin/clean",
		Args:              between(1, -1),
		ValidArgsFunction: s.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && args[1] == "--" {
				args = append(args[:1:1], args[2:]...)
			}
			req, err := s.jobRequest(f, args)
			if err != nil {
				return err
			}
			c, ref, err := s.target(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			return s.runJob(cmd.Context(), c, ref, req, f)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringArrayVar(&f.set, "set", nil, "NAME=VALUE added to its environment; -e NAME=VALUE is the same")
	flags.StringVar(&f.entrypoint, "entrypoint", "", "program to run in place of the image's entrypoint; COMMAND is its arguments")
	flags.DurationVar(&f.timeout, "timeout", 0, "stop it after this long, with exit code 5")
	flags.BoolVarP(&f.detach, "detach", "d", false, "print its ID and leave it running")
	flags.BoolVarP(&f.interactive, "interactive", "i", false, "pass standard input on")
	flags.BoolVarP(&f.tty, "tty", "t", false, "give the command a terminal")
	flags.Bool("rm", true, "has no effect: of a task that has ended, only its output and how it ended are kept")
	return s.reading(cmd)
}

// jobRequest makes the request of a command line.
func (s *shell) jobRequest(f runFlags, args []string) (api.JobRequest, error) {
	req := api.JobRequest{Service: args[0], Timeout: api.Duration(f.timeout), Terminal: f.interactive || f.tty, Attached: !f.detach}
	req.Command.Command = args[1:]
	if f.entrypoint != "" {
		req.Entrypoint = []string{f.entrypoint}
	} else if len(args) < 2 {
		return req, usagef("which command? usage: ikada run SERVICE -- COMMAND")
	}
	if f.detach && req.Terminal {
		return req, usagef("--detach stands beside -i or -t; expected one of them")
	}
	for _, kv := range append(f.set, s.vars...) {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return req, usagef("--set %q: expected NAME=VALUE", kv)
		}
		if req.Env == nil {
			req.Env = map[string]string{}
		}
		req.Env[k] = v
	}
	return req, nil
}

func (s *shell) runJob(ctx context.Context, c *client.Client, ref api.EnvRef, req api.JobRequest, f runFlags) error {
	if req.Terminal {
		return s.runTerminal(ctx, c, ref, req, f)
	}
	interrupted, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	j, err := c.RunJob(ctx, ref, req)
	if err != nil {
		return err
	}
	if f.detach {
		if s.json {
			return s.printJSON(j)
		}
		s.say("%s", j.ID)
		return nil
	}
	defer context.AfterFunc(interrupted, func() {
		stop() // a second one ends this program
		if _, err := c.StopJob(ctx, ref, j.ID); err != nil && !api.IsKind(err, api.Conflict) {
			s.warn("stop job %s: %v", j.ID, err)
		}
	})()
	waits := ""
	last, err := c.WatchJob(ctx, ref, j.ID, true, func(e api.JobEvent) error {
		if e.Job != nil && e.Job.State == api.JobPending && e.Job.Reason != "" && e.Job.Reason != waits {
			waits = e.Job.Reason
			fmt.Fprintf(s.Stderr, "%s\n", s.errOut.paint(dim, printable(waits)))
		}
		if e.Line == nil || s.json {
			return nil
		}
		w := s.Stdout
		if e.Line.Stream == "stderr" {
			w = s.Stderr
		}
		_, err := w.Write(client.OutputOf(e))
		return err
	})
	if err != nil {
		return err
	}
	if s.json {
		if err := s.printJSON(last); err != nil {
			return err
		}
	}
	if interrupted.Err() != nil && last.State == api.JobStopped {
		return &exitError{code: exitInterrupted}
	}
	return jobOutcome(last)
}

// runTerminal runs a command before the user's eyes.
func (s *shell) runTerminal(ctx context.Context, c *client.Client, ref api.EnvRef, req api.JobRequest, f runFlags) error {
	if f.tty {
		if err := s.needTerminal(); err != nil {
			return err
		}
	}
	j, err := c.RunJob(ctx, ref, req)
	if err != nil {
		return err
	}
	return s.frames(ctx, api.ExecRequest{TTY: f.tty}, f.interactive, func(ctx context.Context, r api.ExecRequest, streams client.ExecStreams) (int, error) {
		return c.Attach(ctx, ref, j.ID, r, streams)
	})
}

// jobOutcome gives the error of a job that did not succeed: the command's own exit code is the program's.
func jobOutcome(j api.Job) error {
	switch {
	case j.State == api.JobSucceeded:
		return nil
	case j.State == api.JobTimedOut:
		return &exitError{ExitTimeout, fmt.Errorf("job %s was stopped: %s", j.ID, j.Reason)}
	case j.State == api.JobStopped:
		return &exitError{ExitCancelled, fmt.Errorf("job %s was stopped: %s", j.ID, j.Reason)}
	case j.State == api.JobLost:
		return &exitError{ExitError, fmt.Errorf("job %s is lost: %s", j.ID, j.Reason)}
	case j.ExitCode != nil && *j.ExitCode != 0 && j.Cause == api.CauseExit:
		return &exitError{code: *j.ExitCode}
	case j.ExitCode != nil && *j.ExitCode != 0:
		return &exitError{*j.ExitCode, errors.New(j.Reason)}
	}
	return notStarted(fmt.Errorf("job %s failed: %s", j.ID, j.Reason))
}
