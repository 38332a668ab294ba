package build

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/metadata"

	"github.com/ikada/ikada/api"
)

// tailLines is how many of a step's last lines of output its failure quotes.
const tailLines = 20

// progress turns BuildKit's status into build events and remembers what a failure has to say about a step. Updates
// come from one goroutine; reading after it has ended, or beside it, is safe.
type progress struct {
	events func(api.BuildEvent)

	mu    sync.Mutex
	steps map[digest.Digest]*step
}

// step is what is known of one of BuildKit's vertexes.
type step struct {
	name          string
	started, done bool
	partial       map[int][]byte // by stream: output since the last newline
	tail          []string
}

func newProgress(events func(api.BuildEvent)) *progress {
	return &progress{events: events, steps: map[digest.Digest]*step{}}
}

// update takes one status. Names come first, since logs and transfers refer to them.
func (p *progress) update(s *client.SolveStatus) {
	var out []api.BuildEvent
	p.mu.Lock()
	for _, v := range s.Vertexes {
		out = append(out, p.begin(v)...)
	}
	for _, l := range s.Logs {
		if st := p.steps[l.Vertex]; st != nil {
			out = append(out, st.log(l.Stream, l.Data)...)
		}
	}
	for _, t := range s.Statuses {
		if st := p.steps[t.Vertex]; st != nil && (t.Current > 0 || t.Total > 0) {
			out = append(out, api.BuildEvent{Step: st.name, Log: t.ID, Current: t.Current, Total: t.Total})
		}
	}
	for _, w := range s.Warnings {
		name := ""
		if st := p.steps[w.Vertex]; st != nil {
			name = st.name
		}
		out = append(out, api.BuildEvent{Step: name, Log: "warning: " + string(w.Short)})
	}
	for _, v := range s.Vertexes {
		out = append(out, p.end(v)...)
	}
	p.mu.Unlock()
	for _, e := range out {
		p.events(e)
	}
}

func (p *progress) begin(v *client.Vertex) []api.BuildEvent {
	st := p.steps[v.Digest]
	if st == nil {
		st = &step{name: v.Name, partial: map[int][]byte{}}
		p.steps[v.Digest] = st
	}
	if st.started || v.Started == nil {
		return nil
	}
	st.started = true
	return []api.BuildEvent{{Step: st.name, Started: true}}
}

func (p *progress) end(v *client.Vertex) []api.BuildEvent {
	st := p.steps[v.Digest]
	if st.done || v.Completed == nil {
		return nil
	}
	st.done = true
	out := st.flush()
	e := api.BuildEvent{Step: st.name, Done: true, Cached: v.Cached}
	if v.Started != nil {
		e.Took = api.Duration(v.Completed.Sub(*v.Started).Round(time.Microsecond))
	}
	if v.Error != "" {
		e.Log = "failed: " + v.Error
	}
	return append(out, e)
}

// log cuts output into lines.
func (st *step) log(stream int, data []byte) []api.BuildEvent {
	var out []api.BuildEvent
	buf := append(st.partial[stream], data...)
	for {
		line, rest, ok := bytes.Cut(buf, []byte("\n"))
		if !ok {
			break
		}
		out = append(out, st.line(line))
		buf = rest
	}
	st.partial[stream] = bytes.Clone(buf)
	return out
}

// flush gives the output that ended without a newline.
func (st *step) flush() []api.BuildEvent {
	var out []api.BuildEvent
	for _, stream := range []int{1, 2} {
		if rest := st.partial[stream]; len(rest) > 0 {
			out = append(out, st.line(rest))
			delete(st.partial, stream)
		}
	}
	return out
}

func (st *step) line(b []byte) api.BuildEvent {
	text := strings.ToValidUTF8(strings.TrimRight(string(b), "\r"), "\uFFFD")
	st.tail = append(st.tail, text)
	if len(st.tail) > tailLines {
		st.tail = st.tail[len(st.tail)-tailLines:]
	}
	return api.BuildEvent{Step: st.name, Log: text}
}

// about gives a step's name and the last lines of its output; empty when it is not known.
func (p *progress) about(d digest.Digest) (name string, tail []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if st := p.steps[d]; st != nil {
		return st.name, st.tail
	}
	return "", nil
}

// stream is the server's end of a gRPC stream that has no network: BuildKit's controller is called in this process.
type stream struct{ ctx context.Context }

func (s *stream) SetHeader(metadata.MD) error  { return nil }
func (s *stream) SendHeader(metadata.MD) error { return nil }
func (s *stream) SetTrailer(metadata.MD)       {}
func (s *stream) Context() context.Context     { return s.ctx }
func (s *stream) RecvMsg(any) error            { return errors.ErrUnsupported }
func (s *stream) SendMsg(any) error            { return errors.ErrUnsupported }

// statusStream hands BuildKit's status to progress.
type statusStream struct {
	stream
	progress *progress
}

// Send implements controlapi.Control_StatusServer.
func (s *statusStream) Send(r *controlapi.StatusResponse) error {
	s.progress.update(client.NewSolveStatus(r))
	return s.ctx.Err()
}

// SendMsg implements grpc.ServerStream; BuildKit sends by it.
func (s *statusStream) SendMsg(m any) error {
	r, ok := m.(*controlapi.StatusResponse)
	if !ok {
		return errors.ErrUnsupported
	}
	return s.Send(r)
}
