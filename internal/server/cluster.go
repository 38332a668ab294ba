package server

import (
	"context"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

func (s *Server) version(context.Context, *none) (api.Version, error) { return s.deps.Version, nil }

func (s *Server) health(context.Context, *none) (api.Health, error) { return api.Health{OK: true}, nil }

func (s *Server) listNodes(ctx context.Context, _ *none) ([]api.Node, error) {
	return list[api.Node](ctx, s, store.Nodes)
}

type pruneInput struct {
	Body *api.PruneRequest
}

func (s *Server) prune(ctx context.Context, in *pruneInput) (api.PruneReport, error) {
	if s.deps.Housekeeper == nil {
		return api.PruneReport{}, missing("housekeeper")
	}
	req := api.PruneRequest{}
	if in.Body != nil {
		req = *in.Body
	}
	r, err := s.deps.Housekeeper.Prune(ctx, req)
	if r.Items == nil {
		r.Items = []api.PruneItem{}
	}
	return r, err
}

func (s *Server) shutdown(ctx context.Context, _ *none) (struct{}, error) {
	switch caller := callerOf(ctx); {
	case !caller.Local:
		return struct{}{}, api.Errorf(api.Forbidden, "a node is shut down only over its unix socket: run `ikada shutdown` as root on the node")
	case s.deps.Shutdown == nil:
		return struct{}{}, missing("way to shut down")
	}
	s.deps.Shutdown()
	return struct{}{}, nil
}

// list gives the objects under a prefix, by key; never nil, so that it encodes as an array.
func list[T any](ctx context.Context, s *Server, prefix string) ([]T, error) {
	var out []T
	_, err := s.store.View(ctx, func(tx store.Tx) error {
		found, err := store.List[T](tx, prefix)
		out = values(found)
		return err
	})
	return out, err
}

func values[T any](pointers []*T) []T {
	out := make([]T, 0, len(pointers))
	for _, p := range pointers {
		out = append(out, *p)
	}
	return out
}
