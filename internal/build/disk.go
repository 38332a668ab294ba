package build

import (
	"context"
	"errors"

	controlapi "github.com/moby/buildkit/api/services/control"

	"github.com/ikada/ikada/api"
)

// Usage sums up the build cache. Sizes are in bytes.
type Usage struct {
	Total       int64 // all records; layers of images that were built from them are counted too
	Reclaimable int64 // of records that no build uses now and no image shares
	Records     int
}

// DiskUsage measures the build cache.
func (b *Builder) DiskUsage(ctx context.Context) (Usage, error) {
	e, err := b.acquire(ctx)
	if err != nil {
		return Usage{}, err
	}
	defer b.release(e)
	res, err := e.control.DiskUsage(ctx, &controlapi.DiskUsageRequest{})
	if err != nil {
		return Usage{}, api.Errorf(api.Internal, "measure build cache: %w", err)
	}
	u := Usage{Records: len(res.Record)}
	for _, r := range res.Record {
		u.Total += r.Size
		if !r.InUse && !r.Shared {
			u.Reclaimable += r.Size
		}
	}
	return u, nil
}

// Prune removes the least used records of the build cache until at most keepBytes are left, or none that can go; 0
// removes all that no build uses. It gives the bytes freed. Images stay.
func (b *Builder) Prune(ctx context.Context, keepBytes int64) (int64, error) {
	if keepBytes < 0 {
		return 0, api.FieldError("keepBytes", "negative", "zero or more bytes")
	}
	e, err := b.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer b.release(e)
	out := &pruneStream{stream: stream{ctx: ctx}}
	if err := e.control.Prune(&controlapi.PruneRequest{All: true, MaxUsedSpace: keepBytes}, out); err != nil {
		return out.freed, api.Errorf(api.Internal, "prune build cache: %w", err)
	}
	return out.freed, nil
}

// pruneStream adds up what BuildKit says it removed.
type pruneStream struct {
	stream
	freed int64
}

// Send implements controlapi.Control_PruneServer.
func (s *pruneStream) Send(r *controlapi.UsageRecord) error {
	s.freed += r.Size
	return s.ctx.Err()
}

// SendMsg implements grpc.ServerStream.
func (s *pruneStream) SendMsg(m any) error {
	r, ok := m.(*controlapi.UsageRecord)
	if !ok {
		return errors.ErrUnsupported
	}
	return s.Send(r)
}
