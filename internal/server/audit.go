package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// Audit keeps who called what.
type Audit interface {
	// Record writes a record; it does not block for long.
	Record(r api.AuditRecord)
	// Read gives records, the oldest first.
	Read(ctx context.Context, q api.AuditQuery) ([]api.AuditRecord, error)
}

type auditInput struct {
	Since time.Time `query:"since" doc:"Only those since then"`
	Limit int       `query:"limit" default:"1000" minimum:"0" maximum:"100000" doc:"Only the last so many; 0 is all"`
}

func (s *Server) audit(ctx context.Context, in *auditInput) ([]api.AuditRecord, error) {
	if s.deps.Audit == nil {
		return nil, missing("audit log")
	}
	return s.deps.Audit.Read(ctx, api.AuditQuery{Since: in.Since, Limit: in.Limit})
}

// about notes what a request is about, for the audit log.
func about(ctx context.Context, object string) { requestOf(ctx).object = object }

// quiet are operations that belong to another, which is recorded.
var quiet = map[string]bool{"renew-lock": true, "build-session": true}

// commands are operations that only look as if they read: what they carry reaches a container.
var commands = map[string]bool{"exec": true, "attach-job": true}

// noteOperation notes an API operation that is to be recorded: what changes something, and what runs commands.
func noteOperation(req *request, id, method string, param func(string) string) {
	if method == http.MethodGet && !commands[id] || quiet[id] {
		return
	}
	req.operation = id
	var parts []string
	if app := param("app"); app != "" {
		parts = append(parts, app+"/"+param("env"))
	}
	named := "task "
	if len(parts) > 0 {
		named = "job " // those of tasks name no environment
	}
	for _, p := range [][2]string{{"number", "deployment "}, {"id", named}, {"name", ""}, {"host", ""}} {
		if v := param(p[0]); v != "" {
			parts = append(parts, p[1]+v)
		}
	}
	req.object = strings.Join(parts, " ")
}

// notePush notes what changes an image in the registry; blobs alone are nothing yet.
func notePush(req *request, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, registryPath)
	repo, ref, ok := cutLast(path, "/manifests/")
	switch {
	case r.Method == http.MethodPut && ok:
		req.operation = "push"
	case r.Method == http.MethodDelete && !strings.Contains(path, "/blobs/uploads/"):
		req.operation = "delete"
	default:
		return
	}
	sign := ":"
	if strings.Contains(ref, ":") {
		sign = "@"
	}
	if req.object = path; ok {
		req.object = repo + sign + ref
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// record writes a request that was noted to the audit log, just before its answer begins.
func (s *Server) record(req *request, remote string, status int) {
	if s.deps.Audit == nil || req.operation == "" {
		return
	}
	s.deps.Audit.Record(api.AuditRecord{
		Time: s.now(), User: req.caller.Name, Token: req.caller.Token, Grants: req.caller.Grants.String(), Remote: remote,
		Operation: req.operation, Object: req.object, Result: resultOf(status), Status: status, Request: req.id,
	})
}

// resultOf names what an HTTP status says of a call.
func resultOf(status int) string {
	if status < http.StatusBadRequest {
		return "ok"
	}
	for _, kind := range []api.Kind{api.Invalid, api.NotFound, api.Conflict, api.Unauthorized, api.Forbidden, api.Exhausted, api.Unavailable, api.Timeout} {
		if statusOf(kind) == status {
			return string(kind)
		}
	}
	if status < http.StatusInternalServerError {
		return string(api.Invalid)
	}
	return string(api.Internal)
}
