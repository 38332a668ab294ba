package build

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/ikada/ikada/api"
)

func TestProgress(t *testing.T) {
	var got []api.BuildEvent
	p := newProgress(func(e api.BuildEvent) { got = append(got, e) })
	d := digest.FromString("v")
	start := time.Unix(100, 0)
	end := start.Add(1500 * time.Millisecond)
	p.update(&client.SolveStatus{
		Vertexes: []*client.Vertex{{Digest: d, Name: "RUN x", Started: &start}},
		Logs:     []*client.VertexLog{{Vertex: d, Stream: 1, Data: []byte("one\r\ntw")}},
	})
	p.update(&client.SolveStatus{
		Logs:     []*client.VertexLog{{Vertex: d, Stream: 2, Data: []byte("err\n")}, {Vertex: d, Stream: 1, Data: []byte("o\nrest\xff")}},
		Statuses: []*client.VertexStatus{{Vertex: d, ID: "layer", Current: 5, Total: 10}},
		Warnings: []*client.VertexWarning{{Vertex: d, Short: []byte("old style")}},
	})
	// The end may come together with the step's last output, and more than once.
	for range 2 {
		p.update(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: d, Name: "RUN x", Started: &start, Completed: &end, Error: "exit 1"}}})
	}
	want := []api.BuildEvent{
		{Step: "RUN x", Started: true},
		{Step: "RUN x", Log: "one"},
		{Step: "RUN x", Log: "err"},
		{Step: "RUN x", Log: "two"},
		{Step: "RUN x", Log: "layer", Current: 5, Total: 10},
		{Step: "RUN x", Log: "warning: old style"},
		{Step: "RUN x", Log: "rest\uFFFD"},
		{Step: "RUN x", Done: true, Took: api.Duration(1500 * time.Millisecond), Log: "failed: exit 1"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestProgressKeepsTheLastLines(t *testing.T) {
	p := newProgress(func(api.BuildEvent) {})
	d := digest.FromString("v")
	start := time.Unix(100, 0)
	p.update(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: d, Name: "RUN x", Started: &start}}})
	for i := range 100 {
		p.update(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: d, Stream: 1, Data: fmt.Appendf(nil, "line %d\n", i)}}})
	}
	name, tail := p.about(d)
	if name != "RUN x" || len(tail) != tailLines || tail[0] != "line 80" || tail[tailLines-1] != "line 99" {
		t.Errorf("about = %q, %v", name, tail)
	}
	if name, tail := p.about(digest.FromString("other")); name != "" || tail != nil {
		t.Errorf("about an unknown step = %q, %v", name, tail)
	}
}
