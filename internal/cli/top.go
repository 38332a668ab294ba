package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// How often the live view looks, and how far back a view reaches unless --since says so.
const (
	topPause = time.Second
	topLive  = 10 * time.Second
	topOnce  = time.Minute
)

func (s *shell) topCommand() *cobra.Command {
	var once bool
	var since time.Duration
	q := api.TrafficQuery{}
	cmd := &cobra.Command{
		Use:        "top [APP]",
		SuggestFor: []string{"stats", "metrics", "traffic", "requests"},
		Short:      "Show what requests meet: rates, failures and waits; live on a terminal",
		GroupID:    groupLook,
		Example:    "  ikada top\n  ikada top shop --by task\n  ikada top --once --since 10m --by route",
		Args:       between(0, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			if len(args) == 1 {
				if s.app != "" && s.app != args[0] {
					return usagef("app %q: --app says %q already", args[0], s.app)
				}
				s.app = args[0]
			}
			if !slices.Contains(trafficKinds, q.By) {
				return usagef("--by %q: expected %s", q.By, strings.Join(trafficKinds, ", "))
			}
			live := s.out.live && !once && !s.json
			switch {
			case since == 0 && live:
				since = topLive
			case since == 0:
				since = topOnce
			case since < time.Second || since > api.MaxTraffic:
				return usagef("--since %s: expected 1s to 10m", since)
			}
			q.Since = api.Duration(since)
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if live {
				return s.watchTraffic(ctx, func(ctx context.Context) (api.Traffic, error) { return c.Traffic(ctx, ref, q) })
			}
			return s.showTraffic(ctx, c, ref, q)
		}),
		ValidArgsFunction: s.completeApps,
	}
	flags := cmd.Flags()
	flags.StringVar(&q.By, "by", api.ByService, "what to keep apart: "+strings.Join(trafficKinds, ", "))
	flags.DurationVar(&since, "since", 0, "how far back to count, up to 10m (default: 1m; 10s where the view is live)")
	flags.BoolVar(&once, "once", false, "print one table and end, on a terminal too")
	if err := cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(trafficKinds, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("cli: complete flag: " + err.Error()) // the flag is declared just before
	}
	return s.reading(cmd)
}

var trafficKinds = []string{api.ByService, api.ByRelease, api.ByTask, api.ByRoute}

func (s *shell) showTraffic(ctx context.Context, c *client.Client, ref api.EnvRef, q api.TrafficQuery) error {
	t, err := c.Traffic(ctx, ref, q)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(t)
	}
	for _, line := range s.trafficLines(t) {
		if _, err := fmt.Fprintln(s.out, line); err != nil {
			return err
		}
	}
	return nil
}

// watchTraffic draws the table once a second until Ctrl-C. While the server cannot be reached, it says so below what
// was known last.
func (s *shell) watchTraffic(ctx context.Context, ask func(context.Context) (api.Traffic, error)) error {
	f := frame{t: s.out}
	tick := time.NewTicker(topPause)
	defer tick.Stop()
	var lines []string
	for {
		t, err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // Ctrl-C is how one ends it
		case err == nil:
			lines = s.trafficLines(t)
		case lines == nil || !api.IsKind(err, api.Unavailable):
			return err
		}
		_, height := s.out.size()
		shown := slices.Clone(lines[:min(len(lines), max(height-3, 1))]) // the head stays on a screen that is too low
		if err != nil {
			shown = append(shown, s.out.paint(red, printable(err.Error())))
		}
		f.draw(shown)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// trafficLines is a headline and a table.
func (s *shell) trafficLines(t api.Traffic) []string {
	took := t.Until.Sub(t.From)
	noun := "requests"
	if t.Total.Requests == 1 {
		noun = "request"
	}
	head := fmt.Sprintf("%s on %s in the last %s: %s %s, %s failed", s.out.paint(bold, t.EnvRef.String()), t.Node,
		strings.Replace(took.Round(time.Second).String(), "m0s", "m", 1), number(t.Total.Requests), noun, s.failed(t.Total.Failed))
	if len(t.Rows) == 0 {
		return []string{head}
	}
	names := map[string][]string{
		api.ByService: {"SERVICE"}, api.ByRelease: {"SERVICE", "RELEASE"}, api.ByTask: {"TASK", "RELEASE"}, api.ByRoute: {"SERVICE", "ROUTE"},
	}[t.By]
	rows := s.table(append(slices.Clone(names), "REQ/S", "FAILED", "P50", "P90", "P99", "MAX", "IN FLIGHT", "HELD", "WHY", "4XX",
		"RETRIES", "ABORTED", "REQUESTS", "IN/S", "OUT/S")...) // what matters most has room on a narrow screen
	for _, row := range t.Rows {
		rows.row(append(trafficName(t.By, row), s.trafficCells(row, took)...)...)
	}
	if len(t.Rows) > 1 {
		name := []any{"total", ""}[:len(names)]
		rows.row(append(name, s.trafficCells(t.Total, took)...)...)
	}
	return append([]string{head, ""}, rows.lines()...)
}

// trafficName is the cells that tell a row from others.
func trafficName(by string, row api.TrafficRow) []any {
	switch by {
	case api.ByRelease:
		return []any{row.Service, releaseName(row.Release)}
	case api.ByTask:
		name := taskOf(row.Service, row.Task, row.Slot)
		switch row.Task {
		case "":
			name = row.Service + ", no task"
		case api.GoneTasks:
			name = row.Service + ", gone"
		}
		return []any{name, releaseName(row.Release)}
	case api.ByRoute:
		return []any{row.Service, row.Route}
	}
	return []any{row.Service}
}

func (s *shell) trafficCells(row api.TrafficRow, took time.Duration) []any {
	seconds := max(took.Seconds(), 1)
	perSecond := func(bytes uint64) string { return size(int64(float64(bytes) / seconds)) }
	waits := row.Waits
	return []any{
		rate(row.Rate), s.failed(row.Failed), precise(waits.P50), precise(waits.P90), precise(waits.P99), precise(waits.Max),
		row.InFlight, some(uint64(max(row.Held, 0))), failureWords(row.TrafficCounts), some(row.Status["4xx"]),
		some(row.Retries), some(row.Aborted), number(row.Requests), perSecond(row.In), perSecond(row.Out),
	}
}

// rate gives requests a second with as many digits as mean something.
func rate(r float64) string {
	switch {
	case r >= 100:
		return number(uint64(r + 0.5))
	case r >= 10:
		return fmt.Sprintf("%.1f", r)
	}
	return fmt.Sprintf("%.2f", r)
}

func (s *shell) failed(n uint64) string {
	if n == 0 {
		return "0"
	}
	return s.out.paint(red, number(n))
}

// some leaves the cell of a zero empty, so that a column of nothing but them goes.
func some(n uint64) string {
	if n == 0 {
		return ""
	}
	return number(n)
}

// failureWords says of what kinds the failed requests are.
func failureWords(c api.TrafficCounts) string {
	var words []string
	left := c.Failed
	for _, kind := range slices.Sorted(maps.Keys(c.Failures)) {
		words = append(words, number(c.Failures[kind])+" "+kind)
		left -= min(c.Failures[kind], left)
	}
	if left > 0 {
		words = append(words, number(left)+" answered 5xx")
	}
	return strings.Join(words, ", ")
}
