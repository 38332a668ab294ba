package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

// guard gives a context for what goes on after a request was let in. It ends with the request, when the server ends its
// streams, and when the caller's token lets in no more: then [barred] gives the error. end must be called, and ends it as
// well.
func (s *Server) guard(r *http.Request) (ctx context.Context, end context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(r.Context())
	go func() {
		select {
		case <-s.closing:
			cancel(nil)
		case <-ctx.Done():
		}
	}()
	if who := callerOf(ctx); who.Token != "" {
		go func() { cancel(s.untilBarred(ctx, who.Token, bearer(r))) }()
	}
	return ctx, func() { cancel(nil) }
}

// barred gives the error of a caller whose token lets in no more, nil for one whose context has ended otherwise or not.
func barred(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch who := callerOf(ctx); {
	case api.IsKind(cause, api.Unauthorized):
		return cause
	case errors.Is(cause, context.DeadlineExceeded) && who.Token != "" && !who.ExpiresAt.IsZero() && !time.Now().Before(who.ExpiresAt):
		return api.Errorf(api.Unauthorized, "token %s has expired", who.Token)
	}
	return nil
}

// untilBarred waits until a token's secret lets in no more, and says why; nil when ctx has ended before.
func (s *Server) untilBarred(ctx context.Context, name, secret string) error {
	for ctx.Err() == nil {
		token, rev, err := s.tokenNamed(ctx, name)
		if err == nil {
			until, barred := letsIn(token, name, secret)
			if barred != nil {
				return barred
			}
			err = s.tokenChanged(ctx, name, rev, until)
		}
		if err != nil { // the store will be back
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

// tokenNamed gives a token, nil when there is none.
func (s *Server) tokenNamed(ctx context.Context, name string) (token *api.Token, rev int64, err error) {
	rev, err = s.store.View(ctx, func(tx store.Tx) error {
		token, err = store.Find[api.Token](tx, store.Tokens+name)
		return err
	})
	return token, rev, err
}

// letsIn gives until when a secret of a token lets in, zero for ever, or the error that it does not.
func letsIn(t *api.Token, name, secret string) (time.Time, error) {
	if t == nil {
		return time.Time{}, api.Errorf(api.Unauthorized, "token %s was removed", name)
	}
	found, ok := auth.FindToken([]api.Token{*t}, secret, time.Now())
	switch {
	case ok && found.Outdated:
		return t.PreviousUntil, nil
	case ok:
		return t.ExpiresAt, nil
	case t.Hash == auth.HashToken(secret):
		return time.Time{}, api.Errorf(api.Unauthorized, "token %s has expired", name)
	}
	return time.Time{}, api.Errorf(api.Unauthorized, "token %s has another secret by now", name)
}

// tokenChanged waits until a token has changed after a revision, its time is over, or ctx ends. An error tells that nobody
// knows.
func (s *Server) tokenChanged(ctx context.Context, name string, rev int64, until time.Time) error {
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	key := store.Tokens + name
	err := s.watch(ctx, key, rev, func(c store.Change) error {
		if c.Key != key {
			return nil // another one whose name begins like it
		}
		return errEnded
	})
	if errors.Is(err, errEnded) || ctx.Err() != nil {
		return nil
	}
	return err
}
