package daemon

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/inquiry"
	"github.com/ikada/ikada/internal/metrics"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/proxy/remote"
	"github.com/ikada/ikada/internal/store"
)

// checks asks releases' checks for the control loop.
type checks struct{ asker *inquiry.Asker }

func (n *node) checks() checks {
	own := []netip.Prefix{n.network.Subnet(), n.network.Services()}
	return checks{inquiry.New(inquiry.Config{Metrics: n.metrics,
		Own: func(ip netip.Addr) bool {
			return slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Contains(ip) })
		},
		Secret: func(ctx context.Context, env api.EnvRef, version string) (value string, err error) {
			_, err = n.etcd.View(ctx, func(tx store.Tx) error {
				sealed, err := store.Get[api.SealedSecret](tx, store.SecretKey(env, version))
				if err != nil {
					return err
				}
				b, err := n.key.OpenSecret(*sealed)
				value = string(b)
				return err
			})
			return value, err
		}})}
}

func (c checks) Ask(ctx context.Context, judged *api.Release, q deploy.Question) deploy.Answer {
	ask := inquiry.Question{Env: judged.EnvRef, Release: q.Release, Check: q.Check}
	for _, t := range q.Targets {
		ask.Targets = append(ask.Targets, inquiry.Target{Name: t.Task, Address: t.Address})
	}
	if token := q.Check.Token(); token != "" {
		if ask.Secret = judged.Spec.Secrets[token].Version; ask.Secret == "" {
			return deploy.Answer{Result: api.VerdictInsufficient, Reason: "secret " + token + " is not set"}
		}
	}
	a := c.asker.Ask(ctx, ask)
	return deploy.Answer{Result: a.Result, Value: a.Value, Reason: a.Reason}
}

// requests tells metrics what the balancer has counted.
type requests struct{ *remote.Balancer }

func (r requests) Points(ctx context.Context, env api.EnvRef, by string, since time.Time) ([]metrics.Point, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	points, err := r.Balancer.Points(ctx, env, by, since)
	if err != nil {
		return nil, err
	}
	out := make([]metrics.Point, 0, len(points))
	for i := range points {
		p := &points[i]
		c := remote.Counts(p)
		m := metrics.Point{Time: p.Time, Service: p.Source.Service, Release: p.Source.Release, Route: p.Source.Route, Requests: c.Requests,
			In: c.In, Out: c.Out, Retries: c.Retries, InFlight: c.InFlight, Held: c.Held, Status: c.Status, Failed: map[string]uint64{}}
		answered := c.Failed
		for kind, k := range c.Failures {
			m.Failed[strings.ReplaceAll(kind, " ", "_")] = k
			answered -= min(k, answered)
		}
		if answered > 0 {
			m.Failed["answer"] = answered
		}
		for below, k := range p.Latency.All() {
			m.Waits = append(m.Waits, metrics.Bucket{Below: below, N: k})
		}
		out = append(out, m)
	}
	return out, nil
}

// scenes tells metrics how environments do.
type scenes struct{ mirror *store.Mirror }

func (s scenes) Scenes() (out []metrics.Scene) {
	s.mirror.Read(func(state *store.State) {
		for ref, env := range state.Environments {
			scene := metrics.Scene{Environment: *env, Want: map[string]int{}, Deployments: state.DeploymentsOf(ref)}
			if r := state.Release(ref, env.Release); r != nil {
				for name, spec := range r.Spec.Services {
					scene.Want[name] = env.Replicas(name, spec)
				}
			}
			for _, t := range state.TasksOf(ref) {
				m := metrics.Task{Task: *t}
				if st := state.Statuses[t.ID]; st != nil {
					m.Status = *st
				}
				scene.Tasks = append(scene.Tasks, m)
			}
			out = append(out, scene)
		}
	})
	slices.SortFunc(out, func(a, b metrics.Scene) int { return strings.Compare(a.EnvRef.String(), b.EnvRef.String()) })
	return out
}
