package server

import (
	"context"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type ttlInput struct {
	EnvPath
	Body api.TTLRequest
}

// setTTL says for how long an environment stays, from now on.
func (s *Server) setTTL(ctx context.Context, in *ttlInput) (api.Environment, error) {
	if err := checkTTL("ttl", in.Body.TTL); err != nil {
		return api.Environment{}, err
	}
	return s.change(ctx, in.ref(), func(tx store.Tx, env *api.Environment, by string) error {
		if in.Body.TTL == 0 && env.ExpiresAt.IsZero() {
			return nil
		}
		if err := allowExpiry(ctx, env); err != nil {
			return err
		}
		env.Expire(in.Body.TTL, s.now())
		message := fmt.Sprintf("environment %s is to stay for good, said %s", env.EnvRef, by)
		if in.Body.TTL > 0 {
			message = fmt.Sprintf("environment %s is to stay until %s, said %s", env.EnvRef, env.ExpiresAt.Format(time.RFC3339), by)
		}
		return store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "environment.ttl", Message: message})
	})
}

// checkTTL tells whether an environment may be told to stay for so long; 0 has a meaning everywhere.
func checkTTL(field string, ttl api.Duration) error {
	if ttl != 0 && (ttl < api.MinTTL || ttl > api.MaxTTL) {
		return api.FieldError(field, ttl.String(), fmt.Sprintf("%s to %s, or 0", api.MinTTL, api.MaxTTL))
	}
	return nil
}

// allowExpiry refuses who may not have an environment destroyed. One that is new, or is to go anyway, is a deployer's.
func allowExpiry(ctx context.Context, env *api.Environment) error {
	if env.LastRelease == 0 || !env.ExpiresAt.IsZero() {
		return nil
	}
	return allow(ctx, api.RoleAdmin, env.EnvRef)
}

// renew has an environment stay for so long from now on, and writes it when it is there; 0 changes nothing.
func (s *Server) renew(ctx context.Context, tx store.Tx, env *api.Environment, ttl api.Duration) error {
	if ttl == 0 {
		return nil
	}
	if err := checkTTL("ttl", ttl); err != nil {
		return err
	}
	if err := allowExpiry(ctx, env); err != nil {
		return err
	}
	env.Expire(ttl, s.now())
	return store.Put(tx, store.EnvironmentKey(env.EnvRef), env)
}
