package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/ikada/ikada/api"
)

// failed gives etcd's error the kind that it has for ikada; doing names what failed, "commit transaction".
func (s *Server) failed(doing string, err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		s.askForSpace()
		return api.Errorf(api.Exhausted, "%s: the store has reached its %d MiB: %w", doing, s.config.Quota>>20, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return api.Errorf(api.Exhausted, "%s: the transaction is too large: %w", doing, err)
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return api.Errorf(api.Conflict, "%s: its lease has ended: %w", doing, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return api.Errorf(api.Timeout, "%s: %w", doing, err)
	}
	return api.Errorf(api.Unavailable, "%s: %w", doing, err)
}
