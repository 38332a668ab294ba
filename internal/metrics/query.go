package metrics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/ikada/ikada/api"
)

const (
	mostSamples   = 2_000_000 // that a query may look at: 32 MB, for as long as it runs
	queryTime     = 5 * time.Second
	lookback      = 30 * time.Second
	settled       = 2 * time.Second // after its end a second is complete
	minSpan       = lookback + 5*time.Second
	maxSpan       = api.MaxTraffic - 5*time.Second // what the balancer keeps
	queriesAtOnce = 2
)

// CheckQuery refuses what is no PromQL, or asks for more than is kept. The error is of kind Invalid.
func (b *Book) CheckQuery(query string) error {
	expr, err := parser.ParseExpr(query)
	if err != nil {
		return api.Errorf(api.Invalid, "read PromQL: %w", err)
	}
	if back := reach(expr); back > maxSpan {
		return api.Errorf(api.Invalid, "the query reaches back %s, but ikada keeps %s of its own metrics", back, maxSpan)
	}
	return nil
}

// reach gives how far back an expression looks.
func reach(expr parser.Expr) time.Duration {
	back := lookback
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		var d time.Duration
		if s, ok := n.(*parser.VectorSelector); ok {
			d = max(s.OriginalOffset, s.Offset) + lookback
		}
		for _, p := range append(slices.Clone(path), n) {
			switch p := p.(type) {
			case *parser.MatrixSelector:
				d += p.Range
			case *parser.SubqueryExpr:
				d += p.Range + p.OriginalOffset
			}
		}
		back = max(back, d)
		return nil
	})
	return back
}

var engine = sync.OnceValue(func() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{MaxSamples: mostSamples, Timeout: queryTime, LookbackDelta: lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 5000 }})
})

// Values asks for the value of a query over what is known of an environment by now: one number of each series of its
// result, none when it has no series. Counts of requests have their history of ten minutes, all else its value by now.
func (b *Book) Values(ctx context.Context, env api.EnvRef, query string) ([]float64, error) {
	expr, err := parser.ParseExpr(query)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "read PromQL: %w", err)
	}
	select {
	case b.lanes <- struct{}{}:
		defer func() { <-b.lanes }()
	case <-ctx.Done():
		return nil, api.Errorf(api.Timeout, "other queries run: %w", ctx.Err())
	}
	now := b.now()
	at := now.Add(-settled).Truncate(time.Second)
	span := min(max(reach(expr)+5*time.Second, minSpan), maxSpan)
	all, err := b.history(ctx, env, at.Add(-span), at)
	if err != nil {
		return nil, err
	}
	q, err := engine().NewInstantQuery(ctx, all, nil, query, at)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "read PromQL: %w", err)
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, api.Errorf(api.Invalid, "run the query: %w", res.Err)
	}
	switch v := res.Value.(type) {
	case promql.Scalar:
		return []float64{v.V}, nil
	case promql.Vector:
		var out []float64
		for _, s := range v {
			if s.H != nil {
				return nil, errors.New("the query gives a histogram, not a number")
			}
			out = append(out, s.F)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the query gives a %s, not a number", res.Value.Type())
}

// history gives the series of an environment in which every second is a sample, and those of the present.
func (b *Book) history(ctx context.Context, env api.EnvRef, from, until time.Time) (*timeline, error) {
	t := &timeline{series: map[key]*line{}}
	for _, by := range []string{api.ByRelease, api.ByRoute} {
		points, err := b.requests.Points(ctx, env, by, from)
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(points, func(a, c Point) int { return a.Time.Compare(c.Time) })
		sums := ledger{}
		for len(points) > 0 && points[0].Time.Before(until) {
			second := points[0].Time
			for len(points) > 0 && points[0].Time.Equal(second) {
				sums.add(env, &points[0])
				points = points[1:]
			}
			t.note(sums, second, until)
		}
	}
	for _, scene := range b.world.Scenes() {
		if scene.EnvRef == env {
			present := ledger{}
			present.scene(&scene)
			t.note(present, until, until)
		}
	}
	t.seal(until)
	return t, nil
}

// timeline is series with their samples, as the engine reads them.
type timeline struct{ series map[key]*line }

type line struct {
	labels  labels.Labels
	samples chunks.SampleSlice
}

// note adds the values of a second that has ended. A series that is new was zero the second before.
func (t *timeline) note(l ledger, second, until time.Time) {
	for k, s := range l {
		of := t.series[k]
		if of == nil {
			pairs := []string{model.MetricNameLabel, s.name}
			for _, p := range s.labels {
				pairs = append(pairs, p.name, p.value)
			}
			of = &line{labels: labels.FromStrings(pairs...)}
			t.series[k] = of
			if second.Before(until) {
				of.samples = append(of.samples, sample{second.UnixMilli(), 0})
			}
		}
		end := second.Add(time.Second)
		if !second.Before(until) {
			end = until
		}
		of.fill(end.UnixMilli())
		of.samples = append(of.samples, sample{end.UnixMilli(), s.value})
	}
}

// fill repeats the last value for the seconds in which nothing happened.
func (l *line) fill(until int64) {
	if len(l.samples) == 0 {
		return
	}
	last := l.samples[len(l.samples)-1].(sample)
	for at := last.t + 1000; at < until; at += 1000 {
		l.samples = append(l.samples, sample{at, last.v})
	}
}

// seal brings all series up to the present.
func (t *timeline) seal(until time.Time) {
	for _, l := range t.series {
		l.fill(until.UnixMilli() + 1)
	}
}

// sample is a float at a time in milliseconds.
type sample struct {
	t int64
	v float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// Querier gives the timeline itself: it is made for one query.
func (t *timeline) Querier(int64, int64) (storage.Querier, error) { return t, nil }

// Close does nothing.
func (t *timeline) Close() error { return nil }

// LabelValues is not asked for by queries.
func (t *timeline) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// LabelNames is not asked for by queries.
func (t *timeline) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Select gives the series that match, by their labels.
func (t *timeline) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{at: -1}
	for _, l := range t.series {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(l.labels.Get(m.Name)) }) {
			set.all = append(set.all, storage.NewListSeries(l.labels, l.samples))
		}
	}
	slices.SortFunc(set.all, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return set
}

type seriesSet struct {
	all []storage.Series
	at  int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.all) }
func (s *seriesSet) At() storage.Series                { return s.all[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
