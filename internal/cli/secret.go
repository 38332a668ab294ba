package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) secretCommand() *cobra.Command {
	return s.group("secret", "Manage the secrets of an environment", groupRun,
		s.secretSet(), s.secretList(), s.secretRemove(), s.secretReveal(), s.secretRotate())
}

// settingsFlags are what every change of settings takes.
type settingsFlags struct{ noDeploy, detach bool }

func (f *settingsFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noDeploy, "no-deploy", false, "deploy nothing: it counts from the next release on")
	cmd.Flags().BoolVarP(&f.detach, "detach", "d", false, "do not wait for the deployment")
}

func (s *shell) secretSet() *cobra.Command {
	var f settingsFlags
	var file string
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Set a secret, and deploy what uses it anew",
		Long: `Set a secret of an environment, from a file, or from standard input. On a terminal it is asked for.

It is sealed in the node's store. Services get it as a file, by "external: true" among the Compose file's secrets, or as a
variable, by x-ikada.secrets. A release in force that uses it is made anew with the new value and deployed.`,
		Example: "  ikada secret set db-url < db-url.txt\n  ikada secret set tls-key --from-file key.pem -e staging --no-deploy",
		Args:    between(1, 1),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			if name, _, given := strings.Cut(args[0], "="); given { // before it is sent: a name is written down
				return usagef("the value is not taken from the command line, where others can read it: write it to standard input, as in "+
					"`ikada secret set %s < FILE`", name)
			}
			value, err := s.secretValue(ctx, args[0], file)
			if err != nil {
				return err
			}
			response, err := c.SetSecret(ctx, ref, args[0], api.SecretRequest{Value: value, NoDeploy: f.noDeploy})
			if err != nil {
				return err
			}
			return s.settled(ctx, c, ref, response, "secret "+args[0], f)
		}),
	}
	cmd.Flags().StringVar(&file, "from-file", "", "file that holds the value, to the last byte (default: standard input, without a newline at its end)")
	f.add(cmd)
	return s.reading(cmd)
}

// secretValue reads a value: a file's as it is, that of standard input without the newline that echo adds.
func (s *shell) secretValue(ctx context.Context, name, file string) ([]byte, error) {
	if file != "" {
		return s.readSecret(file)
	}
	if _, ok := s.keyboard(); ok {
		text, err := s.password(ctx, "Value of "+name, false)
		if err == nil && text == "" {
			err = usagef("the value is empty")
		}
		return []byte(text), err
	}
	value, err := readBounded(s.Stdin, "standard input")
	if err != nil {
		return nil, err
	}
	trimmed := strings.TrimSuffix(strings.TrimSuffix(string(value), "\n"), "\r")
	if trimmed == "" {
		return nil, usagef("the value on standard input is empty")
	}
	return []byte(trimmed), nil
}

// settled goes on after a change of settings.
func (s *shell) settled(ctx context.Context, c *client.Client, ref api.EnvRef, r api.SettingsResponse, what string, f settingsFlags) error {
	for _, w := range r.Warnings {
		s.warn("%s", w)
	}
	if r.Deployment == nil {
		if s.json {
			return s.printJSON(r)
		}
		switch {
		case r.Unchanged:
			s.say("Nothing to change: %s of %s is so already.", what, ref)
		case f.noDeploy:
			s.say("The %s of %s is set; it counts from the next release on.", what, ref)
		default:
			s.say("The %s of %s is set; nothing that runs there uses it.", what, ref)
		}
		return nil
	}
	if s.json && f.detach {
		return s.printJSON(r)
	}
	return s.accepted(ctx, c, ref, *r.Deployment, waiting{detach: f.detach})
}

func (s *shell) secretList() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List secrets, without their values",
		Args:    between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			list, err := c.Secrets(ctx, ref)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("SECRET", "VERSION", "AGE", "BY", "USED BY", "")
			for _, v := range list {
				note := ""
				switch {
				case v.InFile:
					note = "from the Compose file"
				case v.Pending:
					note = s.out.paint(yellow, "counts from the next release on")
				}
				t.row(v.Name, v.Version, s.age(v.UpdatedAt), printable(v.UpdatedBy), strings.Join(v.Services, ", "), note)
			}
			t.print(ref.String() + " has no secret.")
			return nil
		}),
	})
}

func (s *shell) secretRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME",
		Aliases: []string{"remove"},
		Short:   "Remove a secret that nothing uses",
		Args:    between(1, 1),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			if err := c.DeleteSecret(ctx, ref, args[0]); err != nil {
				return err
			}
			s.say("Secret %s of %s is gone.", args[0], ref)
			return nil
		}),
		ValidArgsFunction: s.completeSecrets,
	}
}

func (s *shell) secretReveal() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:   "reveal NAME",
		Short: "Print a secret in the clear; who asked is written down",
		Args:  between(1, 1),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			secret, err := c.RevealSecret(ctx, ref, args[0])
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(secret)
			}
			value := secret.Value
			if s.out.live && !strings.HasSuffix(string(value), "\n") {
				value = append(value, '\n') // a person's prompt stands on its own line; a pipe gets the value alone
			}
			_, err = s.Stdout.Write(value)
			return err
		}),
		ValidArgsFunction: s.completeSecrets,
	})
}

func (s *shell) secretRotate() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:   "rotate-key",
		Short: "Make a new key, and seal all secrets, registry logins and web hooks with it",
		Long: `Make a new key for the node's store, seal the secrets of all environments, the registry logins and the web hooks with it, and
remove the old key. Nothing is deployed, and versions stay. Everything can be read meanwhile; if the node is killed, it goes on with it
when it is back.`,
		Args: between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			n, err := c.RotateKey(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(n)
			}
			s.say("The key is new: %s, %s and %s are sealed with it.", plural(n.Secrets, "secret version"), plural(n.Credentials, "login"), plural(n.Hooks, "web hook"))
			return nil
		}),
	})
}

// completeSecrets gives the secrets of the target.
func (s *shell) completeSecrets(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	return completeOne(s, given, begun, (*client.Client).Secrets, func(v api.SecretView) string { return v.Name })
}
