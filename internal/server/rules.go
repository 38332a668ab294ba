package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// place is where an operation needs a role.
type place int

const (
	inCluster  place = iota // in the cluster: the scope *
	inEnv                   // in the environment that the path names
	inTask                  // in the environment of the task that the path names
	inSome                  // in any environment; what it gives or does is bounded by the handler
	inOwnToken              // in the cluster, unless the path names the caller's own token
	openToAll               // nowhere: no token is needed
)

// rule says who may call an operation.
type rule struct {
	role api.Role
	at   place
}

// rules has a row for every operation. One that it lacks needs an admin of the cluster, and fails a test.
var rules = map[string]rule{
	"get-health":      {at: openToAll},
	"get-version":     {api.RoleView, inSome},
	"get-signing-key": {api.RoleView, inSome},
	"sign-receipt":    {api.RoleView, inEnv},
	"whoami":          {api.RoleView, inSome},

	"list-environments":   {api.RoleView, inSome}, // those that the caller may view
	"get-environment":     {api.RoleView, inEnv},
	"create-environment":  {api.RoleDeploy, inEnv}, // of what is copied: view, with its secrets deploy
	"destroy-environment": {api.RoleAdmin, inEnv},
	"set-ttl":             {api.RoleDeploy, inEnv}, // of one that is to stay: admin
	"scale":               {api.RoleDeploy, inEnv},
	"down":                {api.RoleDeploy, inEnv},
	"up":                  {api.RoleDeploy, inEnv},

	"get-lock":   {api.RoleView, inEnv},
	"lock":       {api.RoleDeploy, inEnv}, // force: admin
	"renew-lock": {api.RoleDeploy, inEnv},
	"unlock":     {api.RoleDeploy, inEnv}, // force: admin

	"deploy":            {api.RoleDeploy, inEnv},
	"promote":           {api.RoleDeploy, inEnv}, // of the source: view
	"diff":              {api.RoleView, inEnv},   // and of the other environment
	"plan":              {api.RoleDeploy, inEnv}, // it looks up images, and tells whether values of secrets are those kept
	"rollback":          {api.RoleDeploy, inEnv},
	"restart":           {api.RoleDeploy, inEnv},
	"cancel-deployment": {api.RoleDeploy, inEnv},
	"pause-deployment":  {api.RoleDeploy, inEnv},
	"resume-deployment": {api.RoleDeploy, inEnv},
	"list-deployments":  {api.RoleView, inEnv},
	"get-deployment":    {api.RoleView, inEnv},
	"watch-deployment":  {api.RoleView, inEnv},
	"list-releases":     {api.RoleView, inEnv},
	"get-release":       {api.RoleView, inEnv},

	"list-secrets":  {api.RoleView, inEnv},
	"set-secret":    {api.RoleDeploy, inEnv},
	"delete-secret": {api.RoleDeploy, inEnv},
	"reveal-secret": {api.RoleAdmin, inEnv},
	"list-config":   {api.RoleView, inEnv},
	"change-config": {api.RoleDeploy, inEnv},

	"list-tasks":    {api.RoleView, inEnv},
	"get-task":      {api.RoleView, inTask},
	"get-logs":      {api.RoleView, inEnv},
	"exec":          {api.RoleAdmin, inTask}, // a task's secrets are a command away
	"get-traffic":   {api.RoleView, inEnv},
	"list-failures": {api.RoleView, inEnv},
	"list-events":   {api.RoleView, inSome}, // those that the caller may view
	"get-metrics":   {api.RoleView, inSome}, // of the environments that the caller may view

	"list-jobs":    {api.RoleView, inEnv},
	"get-job":      {api.RoleView, inEnv},
	"watch-job":    {api.RoleView, inEnv},  // attach: admin
	"run-job":      {api.RoleAdmin, inEnv}, // as exec
	"attach-job":   {api.RoleAdmin, inEnv},
	"stop-job":     {api.RoleDeploy, inEnv},
	"trigger-cron": {api.RoleDeploy, inEnv},

	"build":         {api.RoleDeploy, inSome}, // in the environment that the request names
	"build-session": {api.RoleDeploy, inSome},

	"list-hooks":        {api.RoleAdmin, inCluster}, // a hook has the node call an address
	"create-hook":       {api.RoleAdmin, inCluster},
	"test-hook":         {api.RoleAdmin, inCluster},
	"delete-hook":       {api.RoleAdmin, inCluster},
	"audit":             {api.RoleAdmin, inCluster},
	"list-nodes":        {api.RoleView, inSome},
	"list-tokens":       {api.RoleAdmin, inCluster},
	"create-token":      {api.RoleAdmin, inCluster},
	"rotate-token":      {api.RoleAdmin, inOwnToken},
	"delete-token":      {api.RoleAdmin, inCluster},
	"list-credentials":  {api.RoleAdmin, inCluster},
	"put-credential":    {api.RoleAdmin, inCluster},
	"get-credential":    {api.RoleAdmin, inCluster},
	"delete-credential": {api.RoleAdmin, inCluster},
	"rotate-key":        {api.RoleAdmin, inCluster},
	"prune":             {api.RoleAdmin, inCluster},
	"shutdown":          {api.RoleAdmin, inCluster}, // and on the socket
}

// ruleOf gives an operation's rule.
func ruleOf(operation string) rule {
	if r, ok := rules[operation]; ok {
		return r
	}
	return rule{api.RoleAdmin, inCluster}
}

// obey lets only those call an operation whom its rule allows, before anything of the request is looked at.
func (s *Server) obey(c huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(c)
	noteOperation(requestOf(r.Context()), c.Operation().OperationID, c.Method(), c.Param)
	if err := s.allowOperation(r.Context(), ruleOf(c.Operation().OperationID), c.Param); err != nil {
		writeProblem(w, problemOf(err))
		return
	}
	next(c)
}

func (s *Server) allowOperation(ctx context.Context, r rule, param func(string) string) error {
	who := callerOf(ctx)
	switch r.at {
	case openToAll:
		return nil
	case inEnv:
		return allow(ctx, r.role, api.EnvRef{App: param("app"), Env: param("env")})
	case inTask:
		return s.allowTask(ctx, r.role, param("id"))
	case inSome:
		if who.Grants.AllowAny(r.role) {
			return nil
		}
		return forbidden(who, r.role, "an environment")
	case inOwnToken:
		if who.Token != "" && who.Token == param("name") {
			return nil
		}
	}
	if who.Grants.AllowCluster(r.role) {
		return nil
	}
	return forbidden(who, r.role, api.Everywhere)
}

// allow refuses a caller who has not the role in an environment.
func allow(ctx context.Context, role api.Role, ref api.EnvRef) error {
	if who := callerOf(ctx); !who.Grants.Allow(role, ref) {
		return forbidden(who, role, ref.String())
	}
	return nil
}

// allowTask refuses a caller who has not the role in a task's environment. A task that is not there is for the handler
// to tell.
func (s *Server) allowTask(ctx context.Context, role api.Role, id string) error {
	var ref api.EnvRef
	_, err := s.store.View(ctx, func(tx store.Tx) error {
		t, err := findTask(tx, id)
		if err == nil {
			ref = t.EnvRef
		}
		return err
	})
	switch {
	case api.IsKind(err, api.NotFound), api.IsKind(err, api.Invalid):
		return nil
	case err != nil:
		return err
	}
	about(ctx, ref.String()+" task "+id)
	return allow(ctx, role, ref)
}

// forbidden says what was needed, where, and what the caller has.
func forbidden(who Caller, role api.Role, scope string) error {
	has := who.Grants.String()
	if has == "" {
		has = "nothing"
	}
	name := "token " + who.Token
	if who.Token == "" {
		name = who.Name
	}
	return api.Errorf(api.Forbidden, "this needs the role %s on %s; %s has %s", role, scope, name, has)
}

// admitRegistry lets pull who may view an app, and push who may deploy it, in an environment of its; a repository is of
// the app that the first part of its name names. What is in the registry as a whole is told to those who may view all.
func admitRegistry(r *http.Request) (*http.Request, error) {
	who := callerOf(r.Context())
	role := api.RoleDeploy
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		role = api.RoleView
	}
	repo := strings.TrimPrefix(r.URL.Path, registryPath)
	app, _, _ := strings.Cut(repo, "/")
	switch {
	case repo == "": // is this a registry, and is the login good?
		if !who.Grants.AllowAny(api.RoleView) {
			return r, forbidden(who, role, "an app")
		}
	case app == "_catalog":
		if !who.Grants.AllowCluster(role) {
			return r, forbidden(who, role, api.Everywhere)
		}
	case !who.Grants.AllowApp(role, app):
		return r, forbidden(who, role, app+"/*")
	}
	// A mount takes a blob of another repository; without leave to read there, it is uploaded like any other.
	if q := r.URL.Query(); q.Has("mount") && !who.Grants.AllowCluster(api.RoleView) {
		from, _, _ := strings.Cut(q.Get("from"), "/")
		if from == "" || !who.Grants.AllowApp(api.RoleView, from) {
			q.Del("mount")
			q.Del("from")
			r = r.Clone(r.Context())
			r.URL.RawQuery = q.Encode()
		}
	}
	return r, nil
}
