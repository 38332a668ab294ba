package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

const (
	lockPoll    = time.Second     // between two attempts at a lock that another holds
	ownSignal   = 2 * time.Second // for a command to end by the Ctrl-C that it got too
	releaseWait = 5 * time.Second // for the lock to be given back
)

// whileFlag is --while: what comes after it is a command, and no flag of ours.
type whileFlag struct {
	flags *pflag.FlagSet
	given bool
	at    int // how many arguments came before it
}

// String gives nothing: there is no default.
func (w *whileFlag) String() string { return "" }

// Type names the flag's kind in the help.
func (w *whileFlag) Type() string { return "bool" }

// Set ends the reading of flags.
func (w *whileFlag) Set(string) error {
	w.given, w.at = true, w.flags.NArg()
	w.flags.SetInterspersed(false)
	return nil
}

func (s *shell) lockCommand() *cobra.Command {
	var request api.LockRequest
	var lasts given
	var wait span
	while := &whileFlag{}
	cmd := &cobra.Command{
		Use:     "lock [[APP/]ENV]",
		Short:   "Keep others from changing an environment for a while",
		GroupID: groupDeploy,
		Long: `Keep others from changing an environment: to deploy, roll back, restart, scale, stop or destroy it. What runs goes
on, healing and automatic rollback too. A lock ends by itself; whoever holds it may pass, prolong it, and unlock.

With --while the lock holds for as long as a command runs, whose exit code is passed on, and only what that command
calls may pass. It is renewed as long as this program lives, and gone 20 seconds after that at the latest.`,
		Example: "  ikada lock production --for 2h --why \"the database moves\"\n  ikada lock staging --while make release",
		Args: func(cmd *cobra.Command, args []string) error {
			if !while.given {
				return between(0, 1)(cmd, args)
			}
			if len(args) == while.at || while.at > 1 {
				return usagef("--while takes a command; usage: %s --while COMMAND...", cmd.UseLine())
			}
			return nil
		},
		RunE: s.run(func(ctx context.Context, args []string) error {
			named := args
			if while.given {
				named = args[:while.at]
			}
			if d := time.Duration(lasts.span); d > api.MaxLock {
				return usagef("--for %s: expected %s at most", left(d), left(api.MaxLock))
			}
			s.aim(named)
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			request.For, request.Session = api.Duration(lasts.span), while.given
			lock, err := takeLock(ctx, c, ref, request, time.Duration(wait))
			if err != nil {
				return err
			}
			if while.given {
				return s.holdWhile(ctx, c, lock, args[while.at:])
			}
			if s.json {
				return s.printJSON(lock)
			}
			s.say("%s.", s.lockLine(&lock))
			return nil
		}),
	}
	while.flags = cmd.Flags()
	flags := cmd.Flags()
	flags.Var(&lasts, "for", "how long, such as 30m, 2h or 3d, up to 30d (default: 1h)")
	flags.StringVar(&request.Why, "why", "", "what for; others are told")
	flags.BoolVar(&request.Force, "force", false, "take the place of another's lock (role admin)")
	flags.Var(&wait, "wait", "wait this long for another's lock to end (default: not at all)")
	flags.Var(while, "while", "hold it while the command runs that follows")
	flags.Lookup("while").NoOptDefVal = "true"
	return s.reading(cmd)
}

func (s *shell) unlockCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "unlock [[APP/]ENV]",
		Short:   "Let others change an environment again",
		GroupID: groupDeploy,
		Args:    between(0, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			s.aim(args)
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			err = c.Unlock(ctx, ref, "", force)
			switch {
			case api.IsKind(err, api.NotFound):
				if _, err := c.Environment(ctx, ref); err != nil {
					return err // a name that was mistyped is no lock that is gone
				}
				s.say("%s is not locked.", ref)
				return nil
			case err != nil:
				return err
			}
			s.say("%s is unlocked.", ref)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when another holds it (role admin), or a command that runs")
	return cmd
}

// aim chooses the environment that an argument names: ENV, or APP/ENV.
func (s *shell) aim(named []string) {
	if len(named) == 0 {
		return
	}
	if app, env, both := strings.Cut(named[0], "/"); both {
		s.app, s.env = app, env
	} else {
		s.env = named[0]
	}
}

// lockLine says who holds a lock, until when and why.
func (s *shell) lockLine(l *api.Lock) string {
	text := fmt.Sprintf("%s is locked by %s", l.EnvRef, l.Holder)
	if l.Session {
		text += " while a command runs"
	} else {
		text += fmt.Sprintf(" until %s (%s)", l.ExpiresAt.Local().Format(time.DateTime), left(l.ExpiresAt.Sub(s.Now())))
	}
	if l.Why != "" {
		text += ": " + printable(l.Why)
	}
	return text
}

// takeLock asks for a lock until it is given, for as long as wait.
func takeLock(ctx context.Context, c *client.Client, ref api.EnvRef, req api.LockRequest, wait time.Duration) (api.Lock, error) {
	until := time.Now().Add(wait)
	for {
		lock, err := c.Lock(ctx, ref, req)
		if !api.IsKind(err, api.Conflict) || time.Now().Add(lockPoll).After(until) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return lock, context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// holdWhile runs a command under a session's lock and gives the lock back once it has ended. A command whose lock is
// lost is ended: it may no longer do what it was to do alone.
func (s *shell) holdWhile(ctx context.Context, c *client.Client, lock api.Lock, command []string) error {
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	lost := make(chan error, 1)
	go func() { lost <- keepLock(renewing, c, lock) }()
	defer func() {
		stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWait)
		defer cancel()
		if err := c.Unlock(ctx, lock.EnvRef, lock.ID, false); err != nil && !api.IsKind(err, api.NotFound) {
			s.warn("unlock %s: %v; it ends by itself in %s", lock.EnvRef, err, api.SessionLock)
		}
	}()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...) // it is asked to end below
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Dir, s.Stdin, s.Stdout, s.Stderr
	for name, value := range s.environ {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "IKADA_LOCK="+lock.Pass(), "IKADA_HOST="+s.server(), "IKADA_APP="+lock.App, "IKADA_ENV="+lock.Env)
	if s.pin != "" {
		cmd.Env = append(cmd.Env, "IKADA_FINGERPRINT="+s.pin)
	}
	if s.ca != "" {
		cmd.Env = append(cmd.Env, "IKADA_CA_FILE="+s.ca)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var failed error
	for asked := ctx.Done(); ; {
		select {
		case err := <-ended:
			if failed != nil {
				return failed
			}
			return commandEnd(command[0], cmd.ProcessState, err)
		case err := <-lost:
			failed = fmt.Errorf("%w; %s was told to end", err, command[0])
			_ = cmd.Process.Signal(syscall.SIGTERM) // no effect when it has ended
		case <-asked:
			asked = nil
			time.AfterFunc(ownSignal, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		}
	}
}

// commandEnd passes a command's exit code on.
func commandEnd(name string, state *os.ProcessState, err error) error {
	switch {
	case err == nil:
		return nil
	case state == nil || state.ExitCode() < 0:
		return fmt.Errorf("%s: %w", name, err)
	}
	return &exitError{code: state.ExitCode()}
}

// keepLock renews a lock until ctx ends, which gives nil, or the lock is lost. A server that does not answer is asked
// again for as long as the lock may still hold.
func keepLock(ctx context.Context, c *client.Client, lock api.Lock) error {
	holds := time.Now().Add(api.SessionLock)
	ticker := time.NewTicker(api.SessionRenew)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		asked := time.Now()
		call, cancel := context.WithDeadline(ctx, asked.Add(api.SessionRenew))
		_, err := c.RenewLock(call, lock.EnvRef, lock.ID)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil // it is not needed any more
		case err == nil:
			holds = asked.Add(api.SessionLock)
		case api.IsKind(err, api.Unavailable), api.IsKind(err, api.Timeout), api.IsKind(err, api.Internal):
			if time.Now().After(holds) {
				return fmt.Errorf("the lock of %s is lost: %w", lock.EnvRef, err)
			}
		default:
			return err
		}
	}
}
