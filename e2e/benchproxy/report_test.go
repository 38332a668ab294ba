package main

import (
	"strings"
	"testing"
)

// rounds makes a row of which only the first and the third column matter.
func rounds(peer string, values ...[2]float64) *row {
	r := &row{peer: peer}
	for _, v := range values {
		r.values = append(r.values, []float64{v[0], 0, v[1], 0, 0})
	}
	return r
}

func TestGoals(t *testing.T) {
	small := &table{scenario: "small", title: "small", columns: loadColumns("request"), rows: []*row{
		// The machine was slow in the second round, and somebody was lucky in the third.
		rounds("nginx", [2]float64{200, 0.004}, [2]float64{20, 0.04}, [2]float64{100, 0.004}),
		rounds("haproxy", [2]float64{190, 0.003}, [2]float64{19, 0.03}, [2]float64{190, 0.003}),
		rounds("reverseproxy", [2]float64{60, 0.01}, [2]float64{6, 0.1}, [2]float64{70, 0.01}),
		rounds("ikada", [2]float64{190, 0.004}, [2]float64{19, 0.04}, [2]float64{900, 0.001}),
	}}
	var got []string
	for _, g := range small.goals() {
		got = append(got, strings.Join(g, " | "))
	}
	want := []string{
		"small: throughput at least 1 of nginx's | 0.95 | NO",
		"small: throughput at least 1 of haproxy's | 1.00 | yes",
		"small: throughput at least 3 of reverseproxy's | 3.17 | yes",
		"small: p99 at most nginx's | 1.00 | yes",
		"small: p99 at most haproxy's | 1.33 | NO",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("goals are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	idle := &table{scenario: "idle", title: "idle", rows: []*row{{peer: "ikada", values: [][]float64{{8192}}}}}
	if g := idle.goals(); len(g) != 1 || g[0][2] != "NO" {
		t.Errorf("8 KiB is not less than 8 KiB: %q", g)
	}
	if g := (&table{scenario: "small", columns: loadColumns("request"), rows: small.rows[:3]}).goals(); len(g) != 0 {
		t.Errorf("goals without ikada: %q", g)
	}
}

func TestTableOfAPeerThatWasNotMeasured(t *testing.T) {
	var out strings.Builder
	(&table{title: "small", columns: loadColumns("request"), rows: []*row{
		rounds("nginx", [2]float64{100, 0.002}), rounds("ikada"),
	}}).print(&out)
	if text := out.String(); !strings.Contains(text, "| ikada | –") || strings.Contains(text, "÷") {
		t.Errorf("table is\n%s", text)
	}
}
