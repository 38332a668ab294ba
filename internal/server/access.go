package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

const healthPath = Prefix + "/health"

// admit lets a request through with its caller. On the unix socket, whose file only root may open, everyone
// is root. Elsewhere a token is asked for: as a bearer, or as the password of basic authentication, which is all
// that docker and crane can send.
func (s *Server) admit(local bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := requestOf(r.Context())
		switch {
		case local:
			req.caller = Caller{Name: auth.Root, Local: true, Grants: api.Grants{{Role: api.RoleAdmin, Scope: api.Everywhere}}}
		case r.URL.Path == healthPath && r.Method == http.MethodGet:
			req.caller = Caller{Name: "anonymous"}
		default:
			t, err := s.authenticate(r.Context(), r)
			if err != nil {
				refuse(w, r, err)
				return
			}
			req.caller = Caller{Name: t.Holder(), Token: t.Name, Grants: t.Rights(), Outdated: t.Outdated, ExpiresAt: t.ExpiresAt}
			if t.Outdated {
				req.caller.ExpiresAt = t.PreviousUntil
			}
			if !req.caller.ExpiresAt.IsZero() { // what goes on for long ends with it
				ctx, cancel := context.WithDeadline(r.Context(), req.caller.ExpiresAt)
				defer cancel()
				r = r.WithContext(ctx)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// authenticate finds the token of a request.
func (s *Server) authenticate(ctx context.Context, r *http.Request) (auth.Found, error) {
	secret := bearer(r)
	if secret == "" {
		return auth.Found{}, api.Errorf(api.Unauthorized, "a token is needed: send it as 'Authorization: Bearer ikt_…', or as the password of basic authentication")
	}
	var tokens []api.Token
	_, err := s.store.View(ctx, func(tx store.Tx) error {
		list, err := store.List[api.Token](tx, store.Tokens)
		tokens = make([]api.Token, 0, len(list))
		for _, t := range list {
			tokens = append(tokens, *t)
		}
		return err
	})
	if err != nil {
		return auth.Found{}, err
	}
	t, ok := auth.FindToken(tokens, secret, time.Now())
	if !ok {
		return auth.Found{}, api.Errorf(api.Unauthorized, "the token is unknown, removed or expired")
	}
	return t, nil
}

// bearer gives the token that a request carries, "" when there is none.
func bearer(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

// refuse answers a request that is not let in, to registry clients in the words of the OCI distribution
// specification.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="ikada"`)
	}
	if !strings.HasPrefix(r.URL.Path, registryPath) {
		writeProblem(w, p)
		return
	}
	code := "UNKNOWN"
	switch p.Status {
	case http.StatusUnauthorized:
		code = "UNAUTHORIZED"
	case http.StatusForbidden:
		code = "DENIED"
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(map[string][]entry{"errors": {{code, p.Detail}}})
}
