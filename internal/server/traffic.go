package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type trafficInput struct {
	EnvPath
	Since  string `query:"since" default:"1m" maxLength:"20" doc:"How far back, such as 10s; up to 10m"`
	By     string `query:"by" default:"service" enum:"service,release,task,route" doc:"What to keep apart"`
	Points bool   `query:"points" doc:"Each second too"`
}

type failuresInput struct {
	EnvPath
	Last  int       `query:"n" default:"50" minimum:"1" maximum:"1000" doc:"Only the last so many"`
	Since time.Time `query:"since" doc:"Only those since then"`
}

// traffic tells what the balancer of this node has counted.
func (s *Server) traffic(ctx context.Context, in *trafficInput) (api.Traffic, error) {
	q := api.TrafficQuery{By: in.By, Points: in.Points}
	if err := q.Since.UnmarshalText([]byte(in.Since)); err != nil || q.Since.Std() < time.Second || q.Since.Std() > api.MaxTraffic {
		return api.Traffic{}, api.FieldError("since", in.Since, "a number with a unit, such as 10s: 1s to 10m")
	}
	slots, err := s.routedTasks(ctx, in.ref())
	if err != nil {
		return api.Traffic{}, err
	}
	t, err := s.deps.Traffic.Traffic(ctx, in.ref(), q)
	if err != nil {
		return t, err
	}
	t.Node = s.deps.Version.Node
	for i := range t.Rows {
		t.Rows[i].Slot = slots[t.Rows[i].Task]
	}
	slices.SortStableFunc(t.Rows, compareTraffic)
	return t, nil
}

// compareTraffic puts tasks in the order of their slots, and behind them those whose slots are not known.
func compareTraffic(a, b api.TrafficRow) int {
	if c := cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Release, b.Release)); c != 0 {
		return c
	}
	if (a.Slot == 0) != (b.Slot == 0) {
		return b.Slot - a.Slot
	}
	return cmp.Compare(a.Slot, b.Slot)
}

// failures explains failed requests.
func (s *Server) failures(ctx context.Context, in *failuresInput) ([]api.Failure, error) {
	slots, err := s.routedTasks(ctx, in.ref())
	if err != nil {
		return nil, err
	}
	list, err := s.deps.Traffic.Failures(ctx, in.ref(), api.FailureQuery{Last: in.Last, Since: in.Since})
	for i := range list {
		list[i].Slot = slots[list[i].Task]
	}
	return list, err
}

// routedTasks gives the slots of an environment's tasks by ID, of those that have ended as long as they are known.
func (s *Server) routedTasks(ctx context.Context, ref api.EnvRef) (slots map[string]int, err error) {
	if s.deps.Traffic == nil {
		return nil, missing("balancer")
	}
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		slots = map[string]int{}
		if _, err := loadEnvironment(tx, ref); err != nil {
			return err
		}
		all, err := store.List[api.Task](tx, store.Tasks)
		for _, t := range all {
			if t.EnvRef == ref {
				slots[t.ID] = t.Slot
			}
		}
		return err
	})
	return slots, err
}
