package cli

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) execCommand() *cobra.Command {
	var request api.ExecRequest
	var interactive bool
	cmd := &cobra.Command{
		Use:               "exec [-it] SERVICE|TASK COMMAND [ARG...]",
		SuggestFor:        []string{"ssh", "shell", "attach", "enter"},
		Short:             "Run a command in a running task; exits as the command does",
		GroupID:           groupRun,
		Example:           "  ikada exec -it web sh\n  ikada exec web.2 cat /etc/hosts",
		Args:              between(2, -1),
		ValidArgsFunction: s.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			task, err := s.runningTask(ctx, c, ref, args[0])
			if err != nil {
				return err
			}
			request.Task, request.Command = task.ID, args[1:]
			request.Env = append(request.Env, s.vars...)
			if len(args) > 2 && args[1] == "--" { // as users of kubectl are used to
				request.Command = args[2:]
			}
			return s.exec(ctx, c, request, interactive)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.BoolVarP(&interactive, "interactive", "i", false, "pass standard input on")
	flags.BoolVarP(&request.TTY, "tty", "t", false, "give the command a terminal")
	flags.StringVarP(&request.User, "user", "u", "", "user to run as")
	flags.StringVarP(&request.Dir, "workdir", "w", "", "directory to run in")
	flags.StringArrayVar(&request.Env, "set", nil, "NAME=VALUE added to its environment; -e NAME=VALUE is the same")
	return cmd
}

// exec runs a command and exits with its code. With a terminal the local one is raw meanwhile, so that keys such as
// Ctrl-C reach the command; without, signals do.
func (s *shell) exec(ctx context.Context, c *client.Client, request api.ExecRequest, interactive bool) error {
	return s.frames(ctx, request, interactive, c.Exec)
}

// needTerminal refuses to give a command a terminal where there is none.
func (s *shell) needTerminal() error {
	if _, ok := s.keyboard(); !ok {
		return usagef("--tty needs a terminal; leave it out in a pipe")
	}
	return nil
}

// frames has a command run before the user's eyes and exits with its code.
func (s *shell) frames(ctx context.Context, request api.ExecRequest, interactive bool,
	run func(context.Context, api.ExecRequest, client.ExecStreams) (int, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams := client.ExecStreams{Stdout: s.Stdout, Stderr: s.Stderr}
	if interactive {
		streams.Stdin = s.Stdin
	}
	if request.TTY {
		if err := s.needTerminal(); err != nil {
			return err
		}
		in := s.Stdin.(*os.File)
		columns, rows := newTerminal(in, true).size()
		request.Cols, request.Rows = uint16(columns), uint16(rows)
		state, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return api.Errorf(api.Internal, "make terminal raw: %w", err)
		}
		defer func() { _ = term.Restore(int(in.Fd()), state) }() // the process ends anyway
		streams.Resize = sizes(ctx, in)
	} else {
		streams.Signals = signals(ctx)
	}
	code, err := run(ctx, request, streams)
	if err != nil {
		return notStarted(err)
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// notStarted gives the error of a command that could not be started the exit code that a shell has for it: 127 where
// there is no such program, 126 where it cannot be run.
func notStarted(err error) error {
	text := err.Error()
	switch {
	case !strings.Contains(text, "start process: "):
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory"):
		return &exitError{127, err}
	case strings.Contains(text, "permission denied"), strings.Contains(text, "exec format error"):
		return &exitError{126, err}
	}
	return err
}

// sizes gives the terminal's size at every change of it, until ctx ends.
func sizes(ctx context.Context, f *os.File) <-chan api.Winsize {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	out := make(chan api.Winsize)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			columns, rows, err := term.GetSize(int(f.Fd()))
			if err != nil {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case out <- api.Winsize{Rows: uint16(rows), Cols: uint16(columns)}:
			}
		}
	}()
	return out
}

// signals gives the names of signals to pass on, until ctx ends.
func signals(ctx context.Context) <-chan string {
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	out := make(chan string)
	go func() {
		defer signal.Stop(got)
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-got:
				number, ok := sig.(syscall.Signal)
				if !ok {
					continue
				}
				select {
				case <-ctx.Done():
					return
				case out <- unix.SignalName(number):
				}
			}
		}
	}()
	return out
}
