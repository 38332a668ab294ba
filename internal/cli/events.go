package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) eventsCommand() *cobra.Command {
	var follow, all bool
	var limit int
	cmd := &cobra.Command{
		Use:     "events",
		Short:   "Show what happened",
		GroupID: groupLook,
		Args:    between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			q := api.EventQuery{Limit: limit, Follow: follow}
			c, err := s.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			if !all {
				ref, err := s.find(ctx, c)
				if e, ok := errors.AsType[*exitError](err); err != nil && (!ok || e.code != ExitUsage) {
					return err
				}
				q.App, q.Env = ref.App, ref.Env // of all where there are several and none is named, as in status
			}
			err = c.Events(ctx, q, func(e api.Event) error {
				if s.json {
					return s.printLine(e)
				}
				return s.printEvent(e)
			})
			return ended(ctx, follow, err)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new events")
	cmd.Flags().BoolVar(&all, "all", false, "of every app, and of the cluster")
	cmd.Flags().IntVarP(&limit, "limit", "n", 100, "only the last so many; 0 is all")
	return s.reading(cmd)
}

func (s *shell) printEvent(e api.Event) error {
	style := map[string]string{api.LevelWarn: yellow, api.LevelError: red}[e.Level]
	about, message := cmp.Or(e.Service, e.Node), e.Message // less what the line says before it
	if e.App != "" {
		about = e.EnvRef.String()
		message = strings.TrimPrefix(message, about+" ")
		if e.Service != "" && !strings.HasPrefix(e.Message, e.Service+".") && !strings.HasPrefix(e.Message, e.Service+" ") { // it says so itself
			about += " " + e.Service
		}
	}
	_, err := fmt.Fprintf(s.out, "%s %s %s\n", s.out.paint(dim, e.Time.Local().Format(time.DateTime)), s.out.paint(bold, about),
		s.out.paint(style, printable(message)))
	return err
}

// ended takes the end of a stream that was followed by Ctrl-C as its proper end.
func ended(ctx context.Context, follow bool, err error) error {
	if follow && ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is how one ends it
	}
	return err
}
