package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ikada/ikada/api"
)

// retries bounds how often a call is made again because containerd went away in the middle of it.
const retries = 5

// retry makes a call that may be repeated again when containerd was killed under it. The connection itself waits until
// there is one again.
func retry(ctx context.Context, f func() error) error {
	for i := 0; ; i++ {
		err := f()
		if err == nil || !cutOff(err) || i == retries || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond << i):
		}
	}
}

// cutOff tells whether containerd, or a shim that it asked, was killed under a call.
func cutOff(err error) bool {
	err = native(err)
	return errdefs.IsUnavailable(err) || err != nil && strings.Contains(err.Error(), ttrpc.ErrClosed.Error())
}

// native turns an error of containerd's API into one that errdefs knows; one that is of those already stays as it is.
//
// A deadline that passes while containerd waits for a shim is one here too: containerd passes it on by its text alone, and
// is now and then before the client's own clock.
func native(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	if s.Code() == codes.Unknown && strings.HasSuffix(s.Message(), context.DeadlineExceeded.Error()) {
		err = status.Error(codes.DeadlineExceeded, s.Message())
	}
	return errgrpc.ToNative(err)
}

// gone tells whether a container, a process or a task is not there (any more).
func gone(err error) bool {
	if errdefs.IsNotFound(err) {
		return true
	}
	// runc says so only in words.
	return strings.Contains(err.Error(), "process already finished") || strings.Contains(err.Error(), "container not running")
}

// convert gives an error its kind.
func convert(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if _, ok := errors.AsType[*api.Error](err); ok {
		return fmt.Errorf("%s: %w", what, err)
	}
	return api.Errorf(kindOf(err), "%s: %w", what, err)
}

func kindOf(err error) api.Kind {
	if s, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		switch s.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return api.Unauthorized
		case http.StatusNotFound:
			return api.NotFound
		}
		return api.Unavailable
	}
	err = native(err)
	_, network := errors.AsType[net.Error](err)
	text := err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded), errdefs.IsDeadlineExceeded(err):
		return api.Timeout
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), strings.Contains(text, "no space left on device"), strings.Contains(text, "disk quota exceeded"):
		return api.Exhausted
	case errors.Is(err, docker.ErrInvalidAuthorization), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err),
		strings.Contains(text, "insufficient_scope"), strings.Contains(text, "authorization failed"):
		return api.Unauthorized
	case errdefs.IsNotFound(err):
		return api.NotFound
	case errdefs.IsInvalidArgument(err):
		return api.Invalid
	case errdefs.IsUnavailable(err), errdefs.IsCanceled(err), network:
		return api.Unavailable
	}
	return api.Internal
}
