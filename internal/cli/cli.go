package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// The exit codes.
const (
	ExitDone       = 0
	ExitError      = 1
	ExitUsage      = 2
	ExitRolledBack = 3
	ExitCancelled  = 4
	ExitTimeout    = 5
)

// DefaultDataDir is where a node keeps its state unless told otherwise.
const DefaultDataDir = "/var/lib/ikada"

// Options is the world of one run. The zero value of a member is the process's own.
type Options struct {
	Version string
	Daemon  Daemon
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Environ map[string]string // nil: the process's
	Dir     string            // "": the working directory
	Now     func() time.Time
}

// Run executes one command line, without the program's name, and gives the exit code.
func Run(ctx context.Context, args []string, o Options) int {
	s := newShell(o)
	root := s.root()
	root.SetArgs(args)
	return s.exit(root.ExecuteContext(ctx))
}

// shell is one run: its world, the global flags, and how it prints.
type shell struct {
	Options
	host    string
	app     string
	env     string
	pin     string   // fingerprint of the server's certificate
	ca      string   // file of the authorities to believe
	vars    []string // NAME=VALUE given by -e, for `run`
	json    bool
	out     terminal // of Stdout
	errOut  terminal // of Stderr
	environ map[string]string
}

func newShell(o Options) *shell {
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &shell{Options: o, environ: o.Environ}
	if s.environ == nil {
		s.environ = map[string]string{}
		for _, kv := range os.Environ() {
			k, v, _ := strings.Cut(kv, "=")
			s.environ[k] = v
		}
	}
	_, plain := s.environ["NO_COLOR"]
	plain = plain && s.environ["NO_COLOR"] != ""
	s.out, s.errOut = newTerminal(s.Stdout, plain), newTerminal(s.Stderr, plain)
	return s
}

func (s *shell) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "ikada",
		Short:         "Deploy apps to your own machines",
		Long:          "ikada turns Linux machines into a place to deploy to.\n\nExit codes: 0 done, 1 error, 2 usage, 3 rolled back, 4 cancelled or superseded, 5 timed out.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; %s", args[0], meant(cmd, args[0]))
			}
			return nil
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if len(s.vars) > 0 && cmd.Name() != "run" && cmd.Name() != "exec" {
				return usagef("--env %q: expected an environment's name", s.vars[0])
			}
			return nil
		},
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version: s.Version, // for --version, which asks no server as `ikada version` does
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(s.Stdin)
	root.SetOut(s.Stdout) // before the completion command is made, which keeps it
	root.SetErr(s.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s; see %s --help", flagProblem(err), cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVarP(&s.host, "host", "H", "", "server: unix:///path/ikada.sock or https://host:7600 (default $IKADA_HOST, else the socket in "+DefaultDataDir+")")
	flags.StringVar(&s.pin, "fingerprint", "", "of the certificate that the server must show, as ikada up prints it: sha256:… (default $IKADA_FINGERPRINT)")
	flags.StringVar(&s.ca, "ca-file", "", "PEM file of the authorities to believe in the place of the machine's (default $IKADA_CA_FILE)")
	flags.StringVarP(&s.app, "app", "a", "", "app (default: that of the working directory, or the only one)")
	flags.VarP(&envFlag{s}, "env", "e", "environment (default $IKADA_ENV, else "+api.DefaultEnv+")")
	root.AddGroup(
		&cobra.Group{ID: groupDeploy, Title: "Deploy:"},
		&cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupNode, Title: "Node and cluster:"},
	)
	root.AddCommand(
		s.deployCommand(), s.planCommand(), s.promoteCommand(), s.rollbackCommand(), s.cancelCommand(), s.pauseCommand(), s.resumeCommand(), s.watchCommand(), s.restartCommand(),
		s.lockCommand(), s.unlockCommand(),
		s.statusCommand(), s.psCommand(), s.releasesCommand(), s.diffCommand(), s.deploymentsCommand(), s.receiptCommand(), s.checksCommand(),
		s.eventsCommand(), s.logsCommand(), s.topCommand(), s.failuresCommand(), s.whoamiCommand(),
		s.envCommand(), s.secretCommand(), s.configCommand(), s.execCommand(), s.runCommand(), s.jobsCommand(), s.scaleCommand(), s.startCommand(), s.downCommand(), s.destroyCommand(),
		s.nodesCommand(), s.tokenCommand(), s.auditCommand(), s.hookCommand(), s.registryCommand(), s.pruneCommand(),
		s.upCommand(), s.checkCommand(), s.shutdownCommand(), s.resetCommand(), s.containerdCommand(),
		s.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	s.completeFlags(root)
	return root
}

// envFlag is --env. What holds a '=' names no environment: `ikada run -e NAME=VALUE`, as exec, means
// what users of Docker expect.
type envFlag struct{ s *shell }

func (f *envFlag) String() string {
	if f.s == nil {
		return ""
	}
	return f.s.env
}

func (f *envFlag) Type() string { return "string" }

func (f *envFlag) Set(text string) error {
	if strings.Contains(text, "=") {
		f.s.vars = append(f.s.vars, text)
	} else {
		f.s.env = text
	}
	return nil
}

// The groups of commands in the help.
const (
	groupDeploy = "deploy"
	groupLook   = "look"
	groupRun    = "run"
	groupNode   = "node"
)

// run makes a command's function: Ctrl-C and SIGTERM end its context; a second one kills.
func (s *shell) run(fn func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		return fn(ctx, args)
	}
}

// reading adds --json to a command that reads.
func (s *shell) reading(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&s.json, "json", false, "print JSON")
	return cmd
}

// exitError ends the run with a code; its message was printed already when err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usagef makes an error of the command line itself.
func usagef(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// between checks the number of arguments; most below 0 is without bound.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usagef("%s takes %s, not %d arguments; usage: %s", cmd.CommandPath(), counted(least, most), len(args), cmd.UseLine())
		}
		return nil
	}
}

// flagProblem says what is wrong with a flag: its name, the value and what was expected, as of every other field.
func flagProblem(err error) string {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err.Error()
	}
	cause := strings.TrimPrefix(fmt.Sprint(errors.Unwrap(err)), "parse error on ")
	if _, number := errors.AsType[*strconv.NumError](err); number {
		cause = "expected a number"
		if bad.GetFlag().Value.Type() == "bool" {
			cause = "expected true or false"
		}
	} else if strings.HasPrefix(cause, "time: ") {
		cause = "expected a duration such as 90s or 10m"
	}
	return fmt.Sprintf("--%s %q: %s", bad.GetFlag().Name, bad.GetValue(), cause)
}

// group makes a command that only holds others.
func (s *shell) group(name, short, id string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, GroupID: id, Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

// noSubcommand refuses what follows a group of commands and is none of them, with those that there are.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return usagef("unknown command %q for %s; expected one of %s", args[0], cmd.CommandPath(), strings.Join(names, ", "))
}

// meant names the command that is called so elsewhere, or those that a misspelt one may have meant, else where they
// stand.
func meant(parent *cobra.Command, name string) string {
	for _, cmd := range parent.Commands() {
		if slices.Contains(cmd.SuggestFor, name) {
			return "did you mean " + cmd.Name() + "?"
		}
	}
	parent.SuggestionsMinimumDistance = 2
	if len(name) <= 3 {
		parent.SuggestionsMinimumDistance = 1 // nearly every short name is two letters from every other
	}
	near := parent.SuggestionsFor(name)
	if len(near) == 0 {
		return "see " + parent.CommandPath() + " --help"
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}

func counted(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("%d or more", least)
	case least == most:
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// exit prints an error with its remedy and gives the code.
func (s *shell) exit(err error) int {
	if err == nil {
		return ExitDone
	}
	code := ExitError
	if e, ok := errors.AsType[*exitError](err); ok {
		if code = e.code; e.err == nil {
			return code
		}
	} else if api.IsKind(err, api.Timeout) || errors.Is(err, context.DeadlineExceeded) {
		code = ExitTimeout
	}
	if errors.Is(err, context.Canceled) && code == ExitError {
		fmt.Fprintln(s.Stderr, "interrupted")
		return code
	}
	// Fields of a deploy's spec are named as the Compose file has them.
	lines := strings.SplitSeq(strings.TrimPrefix(err.Error(), "spec."), "\n")
	for line := range lines {
		fmt.Fprintf(s.Stderr, "%s %s\n", s.errOut.paint(red, "error:"), line)
	}
	if remedy := s.remedy(err); remedy != "" {
		fmt.Fprintf(s.Stderr, "%s %s\n", s.errOut.paint(dim, "remedy:"), remedy)
	}
	return code
}

// remedy says what to do about an error, where that is known.
func (s *shell) remedy(err error) string {
	switch _, unreachable := errors.AsType[*client.Unreachable](err); {
	case client.Untrusted(err) != "":
		return "compare " + client.Untrusted(err) + " with what `ikada up` prints on the server; if it is the same, set IKADA_FINGERPRINT to it"
	case api.IsKind(err, api.Unavailable) && errors.Is(err, fs.ErrPermission):
		return "its socket is for root alone: say sudo, or call over TCP with a token, which `sudo ikada token create NAME` makes, by IKADA_HOST and IKADA_TOKEN"
	case unreachable:
		if strings.HasPrefix(s.server(), "unix://") {
			return "start a node with `ikada up`, or name a server with --host or IKADA_HOST"
		}
		return "check that the server runs and can be reached, and --host or IKADA_HOST"
	case api.IsKind(err, api.Forbidden):
		return "`ikada whoami` says what you may do; an admin gives more with `ikada token create`"
	case api.IsKind(err, api.NotFound) && strings.HasPrefix(err.Error(), "environment ") && strings.HasSuffix(err.Error(), " does not exist"):
		return "`ikada status --all` lists those that there are; the first `ikada deploy` makes one"
	case strings.Contains(err.Error(), "another ikada (process "):
		return "that node takes deployments: `ikada deploy`; one more needs a --data-dir and ports of its own"
	case strings.Contains(err.Error(), "the API has no /"), strings.HasSuffix(err.Error(), "there is no such field"):
		return s.otherVersion()
	case !api.IsKind(err, api.Unauthorized):
		return ""
	}
	if e, ok := errors.AsType[*api.Error](err); ok && (strings.HasSuffix(e.Field, ".image") || strings.HasSuffix(e.Field, ".build")) {
		return "keep a login for the image's registry with `ikada registry login HOST --username USER`"
	}
	return "set IKADA_TOKEN to a token; `ikada token create NAME` on the server makes one"
}

// otherVersion says so when the server is of another version, which may not know what it is asked.
func (s *shell) otherVersion() string {
	c, err := s.connect()
	if err != nil {
		return ""
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), versionWait)
	defer cancel()
	server, err := c.Version(ctx)
	if err != nil || server.Version == s.Version {
		return ""
	}
	return fmt.Sprintf("the server is of version %s, this program of %s: take one version for both", server.Version, s.Version)
}

// server gives the address of the server to call.
func (s *shell) server() string {
	return cmp.Or(s.host, s.environ["IKADA_HOST"], "unix://"+s.dataDir()+"/ikada.sock")
}

// warn prints a warning.
func (s *shell) warn(format string, args ...any) {
	fmt.Fprintf(s.Stderr, "%s %s\n", s.errOut.paint(yellow, "warning:"), fmt.Sprintf(format, args...))
}

// say prints a line for people: to Stdout, unless JSON is to stand there.
func (s *shell) say(format string, args ...any) {
	if s.json {
		return
	}
	fmt.Fprintf(s.Stdout, format+"\n", args...)
}
