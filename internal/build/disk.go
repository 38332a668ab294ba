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
	records, err := e.records(ctx)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Records: len(records)}
	for _, r := range records {
		u.Total += r.Size
		if !r.InUse && !r.Shared {
			u.Reclaimable += r.Size
		}
	}
	return u, nil
}

// records lists the build cache.
func (e *engine) records(ctx context.Context) ([]*controlapi.UsageRecord, error) {
	res, err := e.control.DiskUsage(ctx, &controlapi.DiskUsageRequest{})
	if err != nil {
		return nil, api.Errorf(api.Internal, "measure build cache: %w", err)
	}
	return res.Record, nil
}

// Prune removes the least used records of the build cache until at most keepBytes are left, or none that can go; 0
// removes all that no build uses. Images stay. It gives the bytes freed, without those of records that images share:
// how much of them an image still needs is not known.
func (b *Builder) Prune(ctx context.Context, keepBytes int64) (int64, error) {
	if keepBytes < 0 {
		return 0, api.FieldError("keepBytes", "negative", "zero or more bytes")
	}
	e, err := b.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer b.release(e)
	records, err := e.records(ctx)
	if err != nil {
		return 0, err
	}
	out := &pruneStream{stream: stream{ctx: ctx}, shared: map[string]bool{}}
	for _, r := range records {
		out.shared[r.ID] = r.Shared
	}
	if err := e.control.Prune(&controlapi.PruneRequest{All: true, MaxUsedSpace: keepBytes}, out); err != nil {
		return out.freed, api.Errorf(api.Internal, "prune build cache: %w", err)
	}
	return out.freed, nil
}

// pruneStream adds up what BuildKit says it removed.
type pruneStream struct {
	stream
	shared map[string]bool // by record
	freed  int64
}

// Send implements controlapi.Control_PruneServer.
func (s *pruneStream) Send(r *controlapi.UsageRecord) error {
	if !s.shared[r.ID] { // of all records, BuildKit does not say so itself
		s.freed += r.Size
	}
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
