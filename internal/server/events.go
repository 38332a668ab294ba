package server

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type eventsInput struct {
	App    string `query:"app" maxLength:"63"`
	Env    string `query:"env" maxLength:"63"`
	After  string `query:"after" maxLength:"80" doc:"ID of the last event that is known: only later ones"`
	Limit  int    `query:"limit" minimum:"0" maximum:"100000" doc:"Only the last so many of what is there already; 0 is all"`
	Follow bool   `query:"follow"`
	Accept string `header:"Accept"`
	LastID string `header:"Last-Event-ID" maxLength:"80"`

	grants api.Grants // of the caller
}

func (in *eventsInput) wants(e *api.Event) bool {
	return (in.App == "" || e.App == in.App) && (in.Env == "" || e.Env == in.Env) && e.ID > in.After && mayView(in.grants, e)
}

// mayView tells whether a caller is told of an event: those of no environment are the cluster's.
func mayView(g api.Grants, e *api.Event) bool {
	if e.EnvRef == (api.EnvRef{}) {
		return g.AllowCluster(api.RoleView)
	}
	return g.Allow(api.RoleView, e.EnvRef)
}

// events answers with server-sent events, or with JSON to those that do not ask for a stream.
func (s *Server) events(ctx context.Context, in *eventsInput) (http.HandlerFunc, error) {
	in.grants = callerOf(ctx).Grants
	if in.LastID > in.After {
		in.After = in.LastID
	}
	past, rev, err := s.pastEvents(ctx, in)
	if err != nil {
		return nil, err
	}
	if !in.Follow && !strings.Contains(in.Accept, "text/event-stream") {
		var b bytes.Buffer
		if err := jsonFormat.Marshal(&b, past); err != nil {
			return nil, api.Errorf(api.Internal, "encode events: %w", err)
		}
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(b.Bytes())
		}, nil
	}
	return s.serveEvents(func(ctx context.Context, send func(string, any) error) error {
		for _, e := range past {
			if err := send(e.ID, e); err != nil {
				return err
			}
			in.After = e.ID
		}
		if !in.Follow {
			return nil
		}
		return s.followEvents(ctx, in, rev, send)
	}), nil
}

func (s *Server) pastEvents(ctx context.Context, in *eventsInput) ([]api.Event, int64, error) {
	var past []api.Event
	rev, err := s.store.View(ctx, func(tx store.Tx) error {
		all, err := store.List[api.Event](tx, store.Events)
		past = []api.Event{}
		for _, e := range all {
			if in.wants(e) {
				past = append(past, *e)
			}
		}
		return err
	})
	if in.Limit > 0 && len(past) > in.Limit {
		past = past[len(past)-in.Limit:]
	}
	return past, rev, err
}

// followEvents sends events as they are written. When the watch breaks it goes on from the last one sent.
func (s *Server) followEvents(ctx context.Context, in *eventsInput, rev int64, send func(string, any) error) error {
	for {
		err := s.watch(ctx, store.Events, rev, func(c store.Change) error {
			if c.Deleted {
				return nil
			}
			e, err := decodeEntry[api.Event](c.Entry)
			// Two that are written at once may come in the other order: what is new counts here, not its ID.
			if after := in.After; err == nil {
				in.After = ""
				wanted := in.wants(e)
				in.After = max(after, e.ID)
				if wanted {
					err = send(e.ID, e)
				}
			}
			return err
		})
		if ctx.Err() != nil || err != errWatchBroke { //nolint:errorlint // never wrapped
			return err
		}
		in.Limit = 0
		past, next, err := s.pastEvents(ctx, in)
		if err != nil {
			return err
		}
		for _, e := range past {
			if err := send(e.ID, e); err != nil {
				return err
			}
			in.After = e.ID
		}
		rev = next
	}
}
