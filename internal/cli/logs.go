package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) logsCommand() *cobra.Command {
	var follow, times bool
	var since, tail string
	cmd := &cobra.Command{
		Use:               "logs [SERVICE|TASK]",
		Short:             "Show what tasks wrote",
		GroupID:           groupLook,
		Example:           "  ikada logs -f web\n  ikada logs --since 10m --tail 100\n  ikada logs web.2",
		Args:              between(0, 1),
		ValidArgsFunction: s.completeServices,
		RunE: s.run(func(ctx context.Context, args []string) error {
			q := api.LogRequest{Follow: follow, Tail: -1}
			var err error
			if q.Since, err = s.moment(since); err != nil {
				return err
			}
			if tail != "all" {
				if q.Tail, err = strconv.Atoi(tail); err != nil || q.Tail < 0 {
					return usagef("--tail %q: expected a number or all", tail)
				}
			}
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if len(args) == 1 {
				if q.Service, q.Task, err = s.serviceOrTask(ctx, c, ref, args[0]); err != nil {
					return err
				}
			}
			err = c.Logs(ctx, ref, q, func(l api.LogLine) error {
				if s.json {
					return s.printLine(l)
				}
				return s.printLog(l, times)
			})
			return ended(ctx, follow, err)
		}),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	flags.BoolVarP(&times, "timestamps", "t", false, "show when each line was written")
	flags.StringVar(&since, "since", "", "only lines after this time, or of this last while: 2026-01-02T15:04:05Z, 10m, 2d")
	flags.StringVarP(&tail, "tail", "n", "all", "only the last so many lines of each task")
	return s.reading(cmd)
}

// moment reads a time, or a duration back from now.
func (s *shell) moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, ok := parseSpan(text); ok {
		return s.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--since %q: expected a time such as 2026-01-02T15:04:05Z, or a duration such as 10m or 2d", text)
}

var logStyles = []string{cyan, green, yellow, "35", "34", "36;1", "32;1", "33;1"}

func (s *shell) printLog(l api.LogLine, times bool) error {
	name := l.Service + "." + cmp.Or(l.Job, strconv.Itoa(l.Slot))
	hue := 0
	for _, r := range name {
		hue = hue*31 + int(r)
	}
	var b strings.Builder
	if times {
		b.WriteString(s.out.paint(dim, l.Time.UTC().Format("2006-01-02T15:04:05.000Z")) + " ")
	}
	b.WriteString(s.out.paint(logStyles[hue%len(logStyles)], name) + " ")
	text := l.Text
	if s.out.live {
		text = printable(text)
	}
	b.WriteString(text)
	_, err := fmt.Fprintln(s.out, b.String())
	return err
}
