package leader

import (
	"context"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// Fence proves a time in office: it stands for the election's key as it was created when this process won. (Fencing
// tokens: Kleppmann, "How to do distributed locking", 2016; here the store itself compares.) Safe for concurrent
// use.
type Fence struct {
	store   store.Store
	key     string
	created int64
}

// Token gives a number that grows from one time in office to the next.
func (f Fence) Token() int64 { return f.created }

// Update is Store.Update for a leader: it commits only if this time in office has not ended, else it fails with an
// error of kind Conflict that is ErrDeposed.
func (f Fence) Update(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	return f.store.Update(ctx, func(tx store.Tx) error {
		e, ok, err := tx.Get(f.key)
		if err != nil {
			return err
		}
		if !ok || e.Created != f.created {
			return api.Errorf(api.Conflict, "update as leader: %w", ErrDeposed)
		}
		return fn(tx)
	})
}

// held tells whether the key is still this one, as of the revision it gives.
func (f Fence) held(ctx context.Context) (rev int64, held bool, err error) {
	rev, err = f.store.View(ctx, func(tx store.Tx) error {
		e, ok, err := tx.Get(f.key)
		held = ok && e.Created == f.created
		return err
	})
	return rev, held, err
}
