package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ikada/ikada/e2e/markdown"
)

// column is one value of a measurement; those with a unit of time are in seconds.
type column struct {
	name   string
	format func(float64) string
}

func count(v float64) string        { return fmt.Sprintf("%.0f", v) }
func milliseconds(v float64) string { return fmt.Sprintf("%.2f ms", v*1e3) }
func microseconds(v float64) string { return fmt.Sprintf("%.1f µs", v*1e6) }
func mebibytes(v float64) string    { return fmt.Sprintf("%.0f MiB", v/(1<<20)) }
func kibibytes(v float64) string    { return fmt.Sprintf("%.2f KiB", v/(1<<10)) }

// row is what was measured of one peer: the rounds' values, each as the columns are.
type row struct {
	peer   string
	values [][]float64
}

// table is what was measured in one scenario.
type table struct {
	scenario, title string
	columns         []column
	rows            []*row
	notes           []string
}

// sample gives the rounds' values in a column, from the least to the most.
func (r *row) sample(col int) []float64 {
	var out []float64
	for _, v := range r.values {
		out = append(out, v[col])
	}
	slices.Sort(out)
	return out
}

// middle gives the median of sorted values, of an even number the lower of the two in the middle; ok is false when
// there is none.
func middle(sorted []float64) (v float64, ok bool) {
	if len(sorted) == 0 {
		return 0, false
	}
	return sorted[(len(sorted)-1)/2], true
}

// row gives a peer's, nil if it was not measured.
func (t *table) row(peer string) *row {
	for _, r := range t.rows {
		if r.peer == peer {
			return r
		}
	}
	return nil
}

// line is one round's values for the progress.
func (t *table) line(values []float64) string {
	var parts []string
	for i, c := range t.columns {
		parts = append(parts, c.name+" "+c.format(values[i]))
	}
	return strings.Join(parts, ", ")
}

// print writes the table as Markdown: medians, in the first column with least and most, then ikada's values over the others'.
func (t *table) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%s\n\n", t.title)
	header := []string{""}
	for _, c := range t.columns {
		header = append(header, c.name)
	}
	lines := [][]string{header}
	for _, r := range t.rows {
		line := []string{r.peer}
		for i, c := range t.columns {
			cell := "–"
			s := r.sample(i)
			if v, ok := middle(s); ok {
				cell = c.format(v)
				if i == 0 {
					cell += fmt.Sprintf(" (%s–%s)", c.format(s[0]), c.format(s[len(s)-1]))
				}
			}
			line = append(line, cell)
		}
		lines = append(lines, line)
	}
	for _, r := range t.rows {
		if r.peer == "ikada" {
			continue
		}
		line := []string{"ikada ÷ " + r.peer}
		for i := range t.columns {
			cell := "–"
			if q, ok := t.ratio(r.peer, i); ok {
				cell = fmt.Sprintf("%.2f", q)
			}
			line = append(line, cell)
		}
		if slices.ContainsFunc(line[1:], func(cell string) bool { return cell != "–" }) {
			lines = append(lines, line)
		}
	}
	markdown.Table(w, lines)
	for _, n := range t.notes {
		_, _ = fmt.Fprintf(w, "\n%s\n", n)
	}
}

// ratio is the median of ikada's value over a peer's in each round: what slowed the machine in a round slowed both.
func (t *table) ratio(peer string, col int) (q float64, ok bool) {
	ours, theirs := t.row("ikada"), t.row(peer)
	if ours == nil || theirs == nil {
		return 0, false
	}
	var quotients []float64
	for i := range min(len(ours.values), len(theirs.values)) {
		if d := theirs.values[i][col]; d > 0 {
			quotients = append(quotients, ours.values[i][col]/d)
		}
	}
	slices.Sort(quotients)
	return middle(quotients)
}

// report is what is printed at the end.
type report struct {
	tables   []*table
	profiles []*profile
	notes    []string
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// print writes every table, and which goals were reached.
func (r *report) print(w io.Writer) {
	for _, t := range r.tables {
		t.print(w)
	}
	goals := [][]string{{"goal", "measured", "reached"}}
	for _, t := range r.tables {
		goals = append(goals, t.goals()...)
	}
	for _, p := range r.profiles {
		p.print(w)
		if p.scenario == "small" {
			goals = append(goals, []string{fmt.Sprintf("meters: less than %g %% of the CPU time", 100*meterGoal), percent(p.metered, p.samples),
				yes(p.metered > 0 && float64(p.metered) < meterGoal*float64(p.samples))})
		}
	}
	if len(goals) > 1 {
		_, _ = fmt.Fprint(w, "\nGoals\n\n")
		markdown.Table(w, goals)
	}
	for _, n := range r.notes {
		_, _ = fmt.Fprintf(w, "\n%s\n", n)
	}
}

// idleGoal is what an idle connection may cost, in bytes.
const idleGoal = 8 << 10

// goals compares a table with what the balancer is to reach; a table without a goal, or without ikada, has none.
func (t *table) goals() [][]string {
	var out [][]string
	add := func(goal, measured string, reached bool) {
		out = append(out, []string{t.title + ": " + goal, measured, yes(reached)})
	}
	switch t.scenario {
	case "small":
		for _, g := range []struct {
			peer  string
			least float64
		}{{"nginx", 1}, {"haproxy", 1}, {"reverseproxy", 3}} {
			if q, ok := t.ratio(g.peer, 0); ok {
				add(fmt.Sprintf("throughput at least %g of %s's", g.least, g.peer), fmt.Sprintf("%.2f", q), q >= g.least)
			}
		}
		for _, peer := range []string{"nginx", "haproxy"} {
			if q, ok := t.ratio(peer, 2); ok {
				add(fmt.Sprintf("p99 at most %s's", peer), fmt.Sprintf("%.2f", q), q <= 1)
			}
		}
	case "idle":
		if r := t.row("ikada"); r != nil && len(r.values) > 0 {
			v, _ := middle(r.sample(0))
			add("less than "+kibibytes(idleGoal), kibibytes(v), v < idleGoal)
		}
	}
	return out
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}
