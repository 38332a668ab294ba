package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scenario is one thing that is measured of every peer.
type scenario struct {
	name    string // on the command line
	title   string
	tls     bool // peers without TLS cannot
	fresh   bool // the measurement starts the peer itself
	columns []column
	// measure gives a value for each column; i is nil if fresh.
	measure func(ctx context.Context, b *bench, p *peer, i instance) ([]float64, error)
}

// reading turns what a load generator saw and the CPU time it cost into values for loadColumns.
func reading(o outcome, cpu time.Duration) []float64 {
	return []float64{o.requests / o.took.Seconds(), o.p50.Seconds(), o.p99.Seconds(), o.p999.Seconds(), cpu.Seconds() / o.requests}
}

// loadColumns are those of most scenarios.
func loadColumns(what string) []column {
	return []column{{what + "s/s", count}, {"p50", milliseconds}, {"p99", milliseconds}, {"p99.9", milliseconds}, {"CPU per " + what, microseconds}}
}

// underLoad makes a measurement of a load: it takes the CPU time of the peer's processes around it.
func underLoad(load func(ctx context.Context, b *bench, p *peer) (outcome, error)) func(context.Context, *bench, *peer, instance) ([]float64, error) {
	return func(ctx context.Context, b *bench, p *peer, i instance) ([]float64, error) {
		before, err := cpuTime(i)
		if err != nil {
			return nil, err
		}
		o, err := load(ctx, b, p)
		if err != nil {
			return nil, err
		}
		after, err := cpuTime(i)
		return reading(o, after-before), err
	}
}

// overWrk is a load by wrk.
func overWrk(name, title string, r reply, conns int, https, fresh bool) scenario {
	return scenario{name: name, title: fmt.Sprintf("%s, %d connections", title, conns), tls: https, columns: loadColumns("request"),
		measure: underLoad(func(ctx context.Context, b *bench, p *peer) (outcome, error) {
			base := "http://" + p.http
			if https {
				base = p.secureURL()
			}
			return b.wrk(ctx, base, r, conns, fresh)
		})}
}

// overWrkBytes is overWrk for replies so large that bytes count: the first column is bytes a second.
func overWrkBytes(name, title string, r reply, conns int) scenario {
	s := overWrk(name, title, r, conns, false, false)
	s.columns = loadColumns("reply")
	s.columns[0] = column{"bytes/s", mebibytes}
	s.columns[4].format = milliseconds
	requests := s.measure
	s.measure = func(ctx context.Context, b *bench, p *peer, i instance) ([]float64, error) {
		values, err := requests(ctx, b, p, i)
		if err == nil {
			values[0] *= float64(r.size)
		}
		return values, err
	}
	return s
}

// h2Conns is how many connections HTTP/2 is measured with; more requests at once are streams on them.
const h2Conns = 64

// overH2 is a load by h2load.
func overH2(conns, streams int) scenario {
	return scenario{name: "h2", title: fmt.Sprintf("Small reply over TLS 1.3, HTTP/2, %d connections, requests at once on each: %d", conns, streams),
		tls: true, columns: loadColumns("request"),
		measure: underLoad(func(ctx context.Context, b *bench, p *peer) (outcome, error) {
			return b.h2load(ctx, p, smallReply, conns, streams)
		})}
}

// scenarioNames gives what -only may say, in the order of the run.
func scenarioNames() []string {
	var names []string
	for _, s := range allScenarios([]int{0}) {
		if !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
	}
	return append(names, profileName)
}

// profileName stands for ikada's profiles in -only.
const profileName = "profile"

// asked tells whether the command line wants something.
func (o options) asked(name string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), name)
}

// allScenarios gives everything that can be measured, with each of the numbers of connections where that matters.
func allScenarios(conns []int) []scenario {
	var out []scenario
	for _, n := range conns {
		out = append(out, overWrk("small", "Small reply, keep-alive", smallReply, n, false, false))
	}
	for _, n := range conns {
		out = append(out, overWrk("page", "64 KiB reply", pageReply, n, false, false))
	}
	out = append(out, overWrkBytes("large", "10 MiB reply", largeReply, conns[0]))
	for _, n := range conns {
		out = append(out, overWrk("connections", "New connection each request", smallReply, n, false, true))
	}
	for _, n := range conns {
		out = append(out, overWrk("tls", "Small reply over TLS 1.3, HTTP/1.1, keep-alive", smallReply, n, true, false))
	}
	for _, n := range conns {
		out = append(out, overH2(min(n, h2Conns), max(1, n/h2Conns)))
	}
	return append(out, scenario{
		name: "handshakes", title: fmt.Sprintf("TLS 1.3, a full handshake each request, %d connections", conns[0]),
		tls: true, columns: loadColumns("handshake"),
		measure: underLoad(func(ctx context.Context, b *bench, p *peer) (outcome, error) { return b.handshakes(ctx, p, conns[0]) }),
	}, scenario{
		name: "websocket", title: fmt.Sprintf("WebSocket echo of %d bytes, %d connections", echoMessage, conns[0]),
		columns: loadColumns("round trip"),
		measure: underLoad(func(ctx context.Context, b *bench, p *peer) (outcome, error) {
			return b.webSockets(ctx, cmp.Or(p.echo, p.http), conns[0])
		}),
	}, scenario{
		name: "idle", title: "Memory of an idle connection after one request",
		fresh: true, columns: []column{{"PSS per connection", kibibytes}},
		measure: func(ctx context.Context, b *bench, p *peer, _ instance) ([]float64, error) {
			v, err := b.idleMemory(ctx, p)
			return []float64{v}, err
		},
	})
}

// scenarios gives those that were asked for, and all that there are.
func (o options) scenarios() (asked, all []scenario, err error) {
	var conns []int
	for text := range strings.SplitSeq(o.conns, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			return nil, nil, fmt.Errorf("-conns: %q is no number of connections from 2 on", text)
		}
		conns = append(conns, n)
	}
	if o.rounds < 1 || o.duration < time.Second || o.duration%time.Second != 0 {
		return nil, nil, errors.New("-rounds must be at least 1 and -duration whole seconds")
	}
	all = allScenarios(conns)
	if o.only != "" {
		for name := range strings.SplitSeq(o.only, ",") {
			if !slices.Contains(scenarioNames(), name) {
				return nil, nil, fmt.Errorf("-only: %q is none of %s", name, strings.Join(scenarioNames(), ", "))
			}
		}
	}
	for name := range strings.SplitSeq(o.profiles, ",") {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name && !s.fresh }) {
			return nil, nil, fmt.Errorf("-profile: %q is no scenario that can be profiled", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(s scenario) bool { return !o.asked(s.name) }), all, nil
}

// measure runs a scenario's rounds, each from the first peer to the last.
func (b *bench) measure(ctx context.Context, s scenario) (err error) {
	t := &table{scenario: s.name, title: s.title, columns: s.columns}
	b.report.tables = append(b.report.tables, t)
	running := map[*peer]instance{}
	defer func() {
		for _, i := range running {
			err = errors.Join(err, i.stop())
		}
	}()
	for _, p := range b.peers {
		if s.tls && p.https == "" {
			progress("%s: %s is left out, it has no TLS", s.title, p.name)
			t.notes = append(t.notes, p.name+" was left out: it has no TLS.")
			continue
		}
		t.rows = append(t.rows, &row{peer: p.name})
		if s.fresh {
			continue
		}
		if running[p], err = b.launch(ctx, p); err != nil {
			delete(running, p)
			return err
		}
	}
	for round := range b.rounds {
		for _, r := range t.rows {
			p := b.peers[slices.IndexFunc(b.peers, func(p *peer) bool { return p.name == r.peer })]
			values, err := s.measure(ctx, b, p, running[p])
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", p.name, round+1, errors.Join(err, context.Cause(ctx)))
			}
			r.values = append(r.values, values)
			progress("%s, round %d: %s %s", s.title, round+1, p.name, t.line(values))
		}
	}
	for p := range running { // what was served under load was right by its size and status; now every byte once more
		if err := p.check(ctx); err != nil {
			return fmt.Errorf("after the rounds: %w", err)
		}
	}
	return nil
}
