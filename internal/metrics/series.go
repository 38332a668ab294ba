package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
)

// label is a name and its value.
type label struct{ name, value string }

// key is what tells series apart: the metric's name and its labels, written as in the text format.
type key string

// series is one metric with one set of labels.
type series struct {
	name   string
	labels []label
	value  float64
}

// ledger is series with their values by now.
type ledger map[key]*series

// at gives a series, made when it is new.
func (l ledger) at(name string, labels ...label) *series {
	k := key(name + text(labels))
	s := l[k]
	if s == nil {
		s = &series{name: name, labels: labels}
		l[k] = s
	}
	return s
}

func (l ledger) sorted() []*series {
	keys := slices.Sorted(maps.Keys(l))
	out := make([]*series, 0, len(keys))
	for _, k := range keys {
		out = append(out, l[k])
	}
	slices.SortStableFunc(out, func(a, b *series) int { return cmp.Compare(a.name, b.name) })
	return out
}

// bounds are the upper bounds of the buckets of waits: two in each power of two of a nanosecond from 0.26 ms to 69 s. The
// balancer's own buckets end at each of them, so that none of its counts is split.
var bounds = func() (out []time.Duration) {
	for e := 18; e <= 36; e++ {
		low := time.Duration(1) << e
		out = append(out, low, low+time.Duration((2*int64(low)+4)/5))
	}
	return out
}()

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

func of(env api.EnvRef, service string, more ...label) []label {
	return append([]label{{"app", env.App}, {"env", env.Env}, {"service", service}}, more...)
}

// add adds a second of a release, or of a route.
func (l ledger) add(env api.EnvRef, p *Point) {
	if p.Route != "" {
		for class, n := range p.Status {
			l.at("ikada_route_requests_total", of(env, p.Service, label{"route", p.Route}, label{"code", class})...).value += float64(n)
		}
		return
	}
	release := label{"release", strconv.FormatUint(p.Release, 10)}
	for _, class := range []string{"2xx", "3xx", "4xx", "5xx"} { // a ratio needs the classes that never were, as zero
		l.at("ikada_requests_total", of(env, p.Service, release, label{"code", class})...)
	}
	for class, n := range p.Status {
		l.at("ikada_requests_total", of(env, p.Service, release, label{"code", class})...).value += float64(n)
	}
	l.at("ikada_requests_failed_total", of(env, p.Service, release, label{"kind", "answer"})...)
	for kind, n := range p.Failed {
		l.at("ikada_requests_failed_total", of(env, p.Service, release, label{"kind", kind})...).value += float64(n)
	}
	l.at("ikada_request_retries_total", of(env, p.Service, release)...).value += float64(p.Retries)
	l.at("ikada_received_bytes_total", of(env, p.Service, release)...).value += float64(p.In)
	l.at("ikada_sent_bytes_total", of(env, p.Service, release)...).value += float64(p.Out)
	const name = "ikada_request_wait_seconds"
	var count, sum float64
	i := 0
	for _, bound := range bounds {
		for ; i < len(p.Waits) && p.Waits[i].Below <= bound; i++ {
			count += float64(p.Waits[i].N)
			sum += float64(p.Waits[i].N) * middle(p.Waits[i].Below)
		}
		l.at(name+"_bucket", of(env, p.Service, release, label{"le", seconds(bound)})...).value += count
	}
	for ; i < len(p.Waits); i++ {
		count += float64(p.Waits[i].N)
		sum += float64(p.Waits[i].N) * bounds[len(bounds)-1].Seconds()
	}
	l.at(name+"_bucket", of(env, p.Service, release, label{"le", "+Inf"})...).value += count
	l.at(name+"_sum", of(env, p.Service, release)...).value += sum
	l.at(name+"_count", of(env, p.Service, release)...).value += count
}

// middle stands for the waits of one of the balancer's buckets, which is a sixth as wide as its bound is high at most.
func middle(below time.Duration) float64 { return below.Seconds() * 0.92 }
