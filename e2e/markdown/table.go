// Package markdown writes the tables of the benchmarks' reports. It keeps nothing, and is safe for concurrent use on
// different writers. Start at [Table].
package markdown

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table writes lines as a table of Markdown, its columns aligned. The first line is the head; each has as many cells as
// that one.
func Table(w io.Writer, lines [][]string) {
	width := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	write := func(line []string, fill string) {
		for i, cell := range line {
			_, _ = fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(fill, width[i]-utf8.RuneCountInString(cell)))
		}
		_, _ = fmt.Fprintln(w, "|")
	}
	write(lines[0], " ")
	write(make([]string, len(width)), "-")
	for _, line := range lines[1:] {
		write(line, " ")
	}
}
