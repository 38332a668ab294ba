package cli

import (
	"fmt"
	"io"
	"strings"
)

// table aligns columns. Cells may hold styles.
type table struct {
	out  terminal
	rows [][]string
}

func (s *shell) table(header ...string) *table {
	t := &table{out: s.out}
	for i, h := range header {
		header[i] = t.out.paint(dim, h)
	}
	t.rows = append(t.rows, header)
	return t
}

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// print writes the table, or a sentence when it has no rows. Columns that are empty but for their header go.
func (t *table) print(empty string) {
	if len(t.rows) == 1 {
		_, _ = fmt.Fprintln(t.out, empty)
		return
	}
	_, _ = io.WriteString(t.out, strings.Join(t.lines(), "\n")+"\n")
}

// lines gives the header and the rows.
func (t *table) lines() []string {
	width := make([]int, len(t.rows[0]))
	filled := make([]bool, len(t.rows[0]))
	for i, row := range t.rows {
		for j, cell := range row {
			width[j] = max(width[j], visible(cell))
			filled[j] = filled[j] || i > 0 && cell != ""
		}
	}
	out := make([]string, 0, len(t.rows))
	for _, row := range t.rows {
		line, pad := "", 0
		for j, cell := range row {
			if !filled[j] {
				continue
			}
			line += strings.Repeat(" ", pad) + cell
			pad = width[j] - visible(cell) + 2
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	return out
}
