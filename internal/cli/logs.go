package cli

import (
	"cmp"
	"context"
	"io"
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
			p := logPrinter{shell: s, times: times}
			err = c.Logs(ctx, ref, q, func(l api.LogLine) error {
				if s.json {
					return s.printLine(l)
				}
				return p.print(l)
			})
			if cerr := p.close(); err == nil {
				err = cerr
			}
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

// logPrinter prints lines of several tasks. A long line comes in pieces, which are put together again unless another
// line comes in between.
type logPrinter struct {
	*shell
	times bool
	open  string // task and stream of the line that was begun and not ended; "" is none
}

func (s *logPrinter) print(l api.LogLine) error {
	from := l.Task + " " + l.Stream
	text := l.Text
	if s.out.live {
		text = printable(text)
	}
	var b strings.Builder
	if s.open != from {
		if s.open != "" {
			b.WriteByte('\n')
		}
		b.WriteString(s.label(l))
	}
	b.WriteString(text)
	s.open = from
	if !l.Partial {
		b.WriteByte('\n')
		s.open = ""
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}

// close ends a line that was begun.
func (s *logPrinter) close() error {
	if s.open == "" {
		return nil
	}
	s.open = ""
	_, err := io.WriteString(s.out, "\n")
	return err
}

// label is what a line begins with.
func (s *logPrinter) label(l api.LogLine) string {
	name := l.Service + "." + cmp.Or(l.Job, strconv.Itoa(l.Slot))
	hue := 0
	for _, r := range name {
		hue = hue*31 + int(r)
	}
	name = s.out.paint(logStyles[hue%len(logStyles)], name) + " "
	if s.times {
		return s.out.paint(dim, l.Time.UTC().Format("2006-01-02T15:04:05.000Z")) + " " + name
	}
	return name
}
