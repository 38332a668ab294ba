package api

import (
	"regexp"
	"strings"
	"time"
)

// Role says how much a caller may do where a grant gives it. Each role may do what those before it may.
type Role string

// The roles, from the least on.
const (
	RoleView   Role = "view"   // look at everything but secrets
	RoleDeploy Role = "deploy" // change what runs: deploy, roll back, scale, restart, stop, start, lock; push images
	RoleAdmin  Role = "admin"  // everything: destroy, run commands in tasks, break locks; with the scope * the cluster too
)

// Roles are the roles, from the least on.
var Roles = []Role{RoleView, RoleDeploy, RoleAdmin}

// rank gives a role's place among Roles; -1 for what is none.
func (r Role) rank() int {
	for i, known := range Roles {
		if r == known {
			return i
		}
	}
	return -1
}

// Includes tells whether who has r may do what other may.
func (r Role) Includes(other Role) bool { return r.rank() >= 0 && r.rank() >= other.rank() }

// Everywhere is the scope of every environment and of the cluster itself: nodes, tokens, logins, pruning.
const Everywhere = "*"

// Grant gives a role in a scope: Everywhere; or APP/ENV, where either may be * or end in * for all names that begin so:
// "shop/staging", "shop/*", "shop/pr-*", "*/staging". "*/*" is every environment without the cluster.
type Grant struct {
	Role  Role   `json:"role"`
	Scope string `json:"scope"`
}

// String gives "deploy on shop/staging".
func (g Grant) String() string { return string(g.Role) + " on " + g.Scope }

var scopePart = regexp.MustCompile(`^(\*|[a-z0-9][a-z0-9-]*\*?)$`)

// Validate names the part that is wrong.
func (g Grant) Validate() error {
	if g.Role.rank() < 0 {
		return FieldError("role", string(g.Role), "view, deploy or admin")
	}
	app, env, both := strings.Cut(g.Scope, "/")
	if g.Scope != Everywhere && (!both || !scopePart.MatchString(app) || !scopePart.MatchString(env)) {
		return FieldError("scope", g.Scope, "*, or APP/ENV such as shop/staging, shop/* or shop/pr-*")
	}
	return nil
}

// covers tells whether the scope holds an environment.
func (g Grant) covers(ref EnvRef) bool {
	app, env, both := strings.Cut(g.Scope, "/")
	return g.Scope == Everywhere || both && covers(app, ref.App) && covers(env, ref.Env)
}

// covers tells whether a part of a scope holds a name.
func covers(pattern, name string) bool {
	if begin, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(name, begin)
	}
	return pattern == name
}

// Grants are what a caller may do.
type Grants []Grant

// Allow tells whether they give a role in an environment.
func (g Grants) Allow(role Role, ref EnvRef) bool {
	for _, grant := range g {
		if grant.Role.Includes(role) && grant.covers(ref) {
			return true
		}
	}
	return false
}

// AllowCluster tells whether they give a role in the cluster itself.
func (g Grants) AllowCluster(role Role) bool {
	for _, grant := range g {
		if grant.Role.Includes(role) && grant.Scope == Everywhere {
			return true
		}
	}
	return false
}

// AllowApp tells whether they give a role in any environment that an app has or may have.
func (g Grants) AllowApp(role Role, app string) bool {
	for _, grant := range g {
		begin, _, _ := strings.Cut(grant.Scope, "/")
		if grant.Role.Includes(role) && covers(begin, app) {
			return true
		}
	}
	return false
}

// AllowAny tells whether they give a role anywhere.
func (g Grants) AllowAny(role Role) bool {
	for _, grant := range g {
		if grant.Role.Includes(role) {
			return true
		}
	}
	return false
}

// String gives "deploy on shop/staging, view on shop/*".
func (g Grants) String() string {
	parts := make([]string, 0, len(g))
	for _, grant := range g {
		parts = append(parts, grant.String())
	}
	return strings.Join(parts, ", ")
}

// Identity is who the server takes a caller for.
type Identity struct {
	User      string    `json:"user"`
	Token     string    `json:"token,omitempty"` // its name; "" on the unix socket
	Local     bool      `json:"local,omitempty"` // on the unix socket
	Grants    Grants    `json:"grants"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"` // of what let the caller in
	Outdated  bool      `json:"outdated,omitempty"` // the token was rotated, and its old secret soon lets nobody in
}
