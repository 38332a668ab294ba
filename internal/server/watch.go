package server

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// errWatchBroke tells that changes may have been missed: the caller takes a new snapshot.
var errWatchBroke = errors.New("the watch broke")

// errEnded tells that what was watched has come to its end.
var errEnded = errors.New("it has ended")

// watch calls each for every change under prefix after a revision, until ctx ends, each fails, or the watch breaks.
func (s *Server) watch(ctx context.Context, prefix string, after int64, each func(store.Change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := s.store.Watch(ctx, prefix, after)
	defer func() {
		cancel()
		for range batches { // let the watch end: it may be about to deliver
		}
	}()
	for b := range batches {
		if b.Err != nil {
			return errWatchBroke
		}
		for _, c := range b.Changes {
			if err := each(c); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errWatchBroke
}

func decodeEntry[T any](e store.Entry) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(e.Value, v); err != nil {
		return nil, api.Errorf(api.Internal, "decode %s: %w", store.Describe(e.Key), err)
	}
	return v, nil
}
