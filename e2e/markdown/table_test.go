package markdown

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	Table(&b, [][]string{{"what", "µs"}, {"small", "5"}, {"", "1 ± 2"}})
	want := "| what  | µs    |\n" +
		"| ----- | ----- |\n" +
		"| small | 5     |\n" +
		"|       | 1 ± 2 |\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}
