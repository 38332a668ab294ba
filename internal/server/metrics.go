package server

import (
	"bytes"
	"context"
	"net/http"

	"github.com/ikada/ikada/api"
)

const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// metrics gives the page that a Prometheus scrapes.
func (s *Server) metrics(ctx context.Context, _ *none) (http.HandlerFunc, error) {
	if s.deps.Metrics == nil {
		return nil, missing("metrics")
	}
	who := callerOf(ctx)
	var page bytes.Buffer
	if err := s.deps.Metrics.Write(ctx, &page, func(ref api.EnvRef) bool { return who.Grants.Allow(api.RoleView, ref) }); err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		answerBegins(ctx)
		w.Header().Set("Content-Type", metricsType)
		_, _ = w.Write(page.Bytes())
	}, nil
}
