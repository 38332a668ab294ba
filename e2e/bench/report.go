package main

import (
	"fmt"
	"io"

	"github.com/ikada/ikada/e2e/markdown"
)

// report is the table at the end.
type report struct {
	rows  [][]string
	notes []string
}

// compare adds a trial's row.
func (r *report) compare(t trial, ours, theirs sample) {
	ratio, target, reached := "–", "–", "–"
	if len(theirs) > 0 {
		ratio = fmt.Sprintf("%.2f", ours.median().Seconds()/theirs.median().Seconds())
	}
	switch {
	case t.bound > 0:
		target, reached = "< "+seconds(t.bound), yes(ours.median() < t.bound)
	case t.least > 0:
		target = fmt.Sprintf("≤ 1/%g", t.least)
		if len(theirs) > 0 {
			reached = yes(ours.median().Seconds()*t.least <= theirs.median().Seconds())
		}
	}
	peer := theirs.String()
	if len(theirs) > 0 && t.peer != "" {
		peer += ", " + t.peer
	}
	r.rows = append(r.rows, []string{t.what, ours.String(), peer, ratio, target, reached})
}

// memory adds a row of bytes; theirs 0 is unknown, bound 0 no target.
func (r *report) memory(what string, ours, theirs, bound int64) {
	row := []string{what, mib(ours), "–", "–", "–", "–"}
	if theirs > 0 {
		row[2], row[3] = mib(theirs), fmt.Sprintf("%.2f", float64(ours)/float64(theirs))
	}
	if bound > 0 {
		row[4], row[5] = "< "+mib(bound), yes(ours < bound)
	}
	r.rows = append(r.rows, row)
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// print writes the table as Markdown and the notes.
func (r *report) print(w io.Writer) {
	markdown.Table(w, append([][]string{{"what", "ikada", "Docker", "ratio", "target", "reached"}}, r.rows...))
	_, _ = fmt.Fprintln(w)
	for _, n := range r.notes {
		_, _ = fmt.Fprintln(w, "- "+n)
	}
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}
