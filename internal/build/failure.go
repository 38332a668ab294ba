package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remotes "github.com/containerd/containerd/v2/core/remotes/errors"
	cerrdefs "github.com/containerd/errdefs"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/ikada/ikada/api"
)

// failure turns BuildKit's error into one that says which step failed, where it stands in the Dockerfile, why, and
// what it printed last.
func failure(ctx context.Context, err error, p *progress) error {
	if ctx.Err() != nil {
		return stopped(ctx, err)
	}
	if known, ok := errors.AsType[*api.Error](err); ok {
		return known
	}
	if errors.Is(err, os.ErrNotExist) && strings.Contains(err.Error(), "failed to read dockerfile") {
		return api.Errorf(api.Invalid, "build.dockerfile: there is no such file in the build context: %w", err)
	}
	where, tail := place(err, p)
	if oom, ok := errors.AsType[*outOfMemory](err); ok {
		return api.Errorf(api.Exhausted, "%s%s%w", where, lead(where), oom)
	}
	if exit, ok := errors.AsType[*gateway.ExitError](err); ok && exit.ExitCode != gateway.UnknownExitStatus {
		code := fmt.Sprintf("exit code %d", exit.ExitCode)
		if exit.ExitCode > 128 && exit.ExitCode < 128+65 {
			code += fmt.Sprintf(" (%s)", syscall.Signal(exit.ExitCode-128))
		}
		return api.Errorf(api.Invalid, "%s failed with %s%s", where, code, quote(tail))
	}
	kind := kindOf(err, where != "")
	if kind == api.Unauthorized { // a registry has refused the build, not this node its caller
		return &api.Error{Kind: kind, Field: "build", Message: where + lead(where) + err.Error()}
	}
	return api.Errorf(kind, "%s%s%w", where, lead(where), err)
}

// stopped is the error of a build that was ended from outside.
func stopped(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded):
		return api.Errorf(api.Timeout, "the build took too long and was stopped: %w", cause)
	case errors.Is(cause, context.Canceled):
		return api.Errorf(api.Unavailable, "the build was cancelled: %w", cause)
	case cause != nil:
		return api.Errorf(api.Unavailable, "the build was stopped: %w", cause)
	}
	return api.Errorf(api.Internal, "the build was stopped: %w", err)
}

// place says which step an error is of and where that stands, and gives the step's last output.
func place(err error, p *progress) (where string, tail []string) {
	if v, ok := errors.AsType[*errdefs.VertexError](err); ok {
		var name string
		if name, tail = p.about(digest.Digest(v.Digest)); name != "" {
			where = fmt.Sprintf("step %q", name)
		}
	}
	for _, s := range errdefs.Sources(err) {
		if s.GetInfo() == nil || len(s.GetRanges()) == 0 {
			continue
		}
		line := fmt.Sprintf("%s line %d", s.GetInfo().GetFilename(), s.GetRanges()[0].GetStart().GetLine())
		if where == "" {
			return line, tail
		}
		return where + " (" + line + ")", tail
	}
	return where, tail
}

func lead(where string) string {
	if where == "" {
		return ""
	}
	return ": "
}

func quote(tail []string) string {
	if len(tail) == 0 {
		return ", having printed nothing"
	}
	return "; its last output:\n  " + strings.Join(tail, "\n  ")
}

// kindOf tells whose fault an error is. What has a place in the Dockerfile and no better explanation is the
// Dockerfile's.
func kindOf(err error, placed bool) api.Kind {
	if answer, ok := errors.AsType[remotes.ErrUnexpectedStatus](err); ok && answer.StatusCode == http.StatusUnauthorized {
		return api.Unauthorized
	}
	var network *net.OpError
	var dns *net.DNSError
	switch code := grpcerrors.Code(err); {
	case errors.Is(err, syscall.ENOSPC), strings.Contains(err.Error(), syscall.ENOSPC.Error()), code == codes.ResourceExhausted:
		return api.Exhausted
	case errors.Is(err, docker.ErrInvalidAuthorization), cerrdefs.IsUnauthorized(err), code == codes.Unauthenticated:
		return api.Unauthorized
	case strings.Contains(err.Error(), "is not allowed"): // an entitlement, which no token gives
		return api.Invalid
	case cerrdefs.IsPermissionDenied(err), code == codes.PermissionDenied:
		return api.Forbidden
	case errors.As(err, &network), errors.As(err, &dns), cerrdefs.IsUnavailable(err), code == codes.Unavailable:
		return api.Unavailable
	case cerrdefs.IsNotFound(err) || code == codes.NotFound:
		return api.NotFound
	case placed, errors.Is(err, os.ErrNotExist), code == codes.InvalidArgument, code == codes.Unknown:
		return api.Invalid
	}
	return api.Internal
}
