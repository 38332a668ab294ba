package server

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ikada/ikada/api"
)

// routes registers every operation of the API.
func (s *Server) routes(a huma.API) {
	const (
		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
		env                 = "/apps/{app}/envs/{env}"
	)
	op := operation

	handle(a, op("get-version", get, "/version", "Which ikada this is"), s.version)
	handle(a, open(op("get-health", get, "/health", "Whether the server takes requests; needs no token")), s.health)

	handle(a, op("whoami", get, "/whoami", "Whom the server takes the caller for, and what that may do"), s.whoami)

	handle(a, op("list-environments", get, "/apps", "Every environment with its status"), s.listEnvironments)
	handle(a, op("get-environment", get, env, "An environment with its status"), s.getEnvironment)
	handle(a, created(op("create-environment", post, env, "Make an environment, empty or as a copy that is deployed at once")), s.createEnvironment)
	handle(a, accepted(op("destroy-environment", del, env, "Remove an environment and all of it")), s.destroy)
	handle(a, op("scale", post, env+"/scale", "Set replicas by hand"), s.scale)
	handle(a, op("down", post, env+"/down", "Stop every task until the next deploy or up"), s.down)
	handle(a, op("up", post, env+"/up", "Start again what down stopped"), s.up)
	handle(a, op("set-ttl", put, env+"/ttl", "Say for how long an environment stays"), s.setTTL)

	handle(a, op("get-lock", get, env+"/lock", "Who keeps others from changing it, why and until when"), s.getLock)
	handle(a, op("lock", put, env+"/lock", "Keep others from changing it for a while"), s.lock)
	handle(a, op("renew-lock", post, env+"/lock/renew", "Hold a session's lock on"), s.renewLock)
	handle(a, empty(op("unlock", del, env+"/lock", "End a lock; with force, another's")), s.unlock)

	handle(a, accepted(op("deploy", post, env+"/deployments", "Make a release and queue the deployment to it")), s.deploy)
	handle(a, accepted(op("promote", post, env+"/promote", "Make a release of another environment's images and queue the deployment to it")), s.promote)
	handle(a, op("diff", get, env+"/diff", "What differs between two releases of an app"), s.diff)
	handle(a, op("plan", post, env+"/plan", "What a deployment would do step by step, rehearsed; nothing is written"), s.plan)
	handle(a, accepted(op("rollback", post, env+"/rollback", "Queue the deployment back to a kept release")), s.rollback)
	handle(a, accepted(op("restart", post, env+"/restart", "Queue a deployment of the committed release with fresh tasks")), s.restart)
	handle(a, op("list-deployments", get, env+"/deployments", "Deployments, the newest first"), s.listDeployments)
	handle(a, op("get-deployment", get, env+"/deployments/{number}", "One deployment"), s.getDeployment)
	stream[api.Deployment](a, s, op("watch-deployment", get, env+"/deployments/{number}/watch", "A deployment at every change, until it has ended, or its trial"), s.watchDeployment)
	handle(a, op("cancel-deployment", post, env+"/deployments/{number}/cancel", "Cancel a deployment"), s.cancelDeployment)
	handle(a, op("sign-receipt", get, env+"/deployments/{number}/receipt", "The receipt of a deployment that has ended, signed (DSSE)"), s.signReceipt)
	handle(a, op("get-signing-key", get, "/receipt-key", "The key by which signed receipts are checked"), s.getSigningKey)
	handle(a, op("pause-deployment", post, env+"/deployments/{number}/pause", "Have a deployment stay where it is"), s.pauseDeployment)
	handle(a, op("resume-deployment", post, env+"/deployments/{number}/resume", "Have a deployment go on that is paused, or stands at a step that holds"), s.resumeDeployment)
	handle(a, op("list-releases", get, env+"/releases", "Kept releases, the newest first"), s.listReleases)
	handle(a, op("get-release", get, env+"/releases/{number}", "One release"), s.getRelease)

	handle(a, op("list-secrets", get, env+"/secrets", "Secrets of an environment, without their values"), s.listSecrets)
	handle(a, op("set-secret", put, env+"/secrets/{name}", "Set a secret, and deploy what uses it anew"), s.setSecret)
	handle(a, empty(op("delete-secret", del, env+"/secrets/{name}", "Remove a secret that nothing uses")), s.deleteSecret)
	handle(a, op("reveal-secret", post, env+"/secrets/{name}/reveal", "Give a secret in the clear, and write down who asked"), s.revealSecret)
	handle(a, op("list-config", get, env+"/config", "Variables of an environment"), s.listConfig)
	handle(a, op("change-config", post, env+"/config", "Set and unset variables, and deploy with them"), s.changeConfig)

	handle(a, op("list-tasks", get, env+"/tasks", "Tasks by service and slot"), s.listTasks)
	handle(a, op("get-task", get, "/tasks/{id}", "One task, by its ID or an unambiguous beginning of it"), s.getTask)
	stream[api.LogLine](a, s, op("get-logs", get, env+"/logs", "Lines of output"), s.logs)
	raw(a, upgraded(op("exec", get, "/tasks/{id}/exec", "Run a command in a task, over a WebSocket"),
		"The caller's first message is text, an ExecRequest; then both send binary messages: a byte that names the frame "+
			"(0 stdin, 1 stdout, 2 stderr, 3 resize, 4 signal, 5 exit) and its payload."), s.exec)
	handle(a, op("get-traffic", get, env+"/traffic", "What requests have met lately, as the balancer counted it"), s.traffic)
	handle(a, op("list-failures", get, env+"/failures", "Why requests failed, the newest first"), s.failures)

	page := op("get-metrics", get, "/metrics", "Metrics in Prometheus' text format, of the environments that the caller may view")
	respond(&page, "200", "The page, version 0.0.4", "text/plain", &huma.Schema{Type: huma.TypeString})
	raw(a, page, s.metrics)

	handle(a, op("list-jobs", get, env+"/jobs", "Schedules, and jobs, the newest first"), s.listJobs)
	handle(a, accepted(op("run-job", post, env+"/jobs", "Run a command once, in a fresh task of a service")), s.runJob)
	handle(a, op("get-job", get, env+"/jobs/{id}", "One job, by its ID or an unambiguous beginning of it"), s.getJob)
	handle(a, accepted(op("stop-job", post, env+"/jobs/{id}/stop", "Stop a job")), s.stopJob)
	handle(a, accepted(op("trigger-cron", post, env+"/crons/{service}/{name}/run", "Run what is scheduled now")), s.triggerCron)
	stream[api.JobEvent](a, s, op("watch-job", get, env+"/jobs/{id}/watch", "A job at every change and its output, until it has ended"), s.watchJob)
	raw(a, upgraded(op("attach-job", get, env+"/jobs/{id}/terminal", "Run the command of a job with a terminal, over a WebSocket"),
		"As exec's, but for the command, which is the job's own; it begins once the job's task runs. When the connection "+
			"ends the job is stopped."), s.terminal)

	events := op("list-events", get, "/events", "What happened; as server-sent events when asked for or with follow, else as JSON")
	documentStream[api.Event](a, &events)
	respond(&events, "200", "", "application/json", a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[[]api.Event](), true, ""))
	raw(a, events, s.events)

	stream[api.BuildEvent](a, s, op("build", post, "/builds", "Build an image with the files of a session"), s.build)
	raw(a, upgraded(op("build-session", post, "/builds/session", "Open the session by which a build reads the client's files"),
		"The connection is upgraded to h2c and speaks BuildKit's session protocol."), s.session)

	handle(a, op("list-nodes", get, "/nodes", "Nodes, by name"), s.listNodes)
	handle(a, op("list-tokens", get, "/tokens", "Tokens, by name, without their secrets"), s.listTokens)
	handle(a, created(op("create-token", post, "/tokens", "Make a token; its secret is shown only now")), s.createToken)
	handle(a, op("rotate-token", post, "/tokens/{name}/rotate", "Give a token a new secret, shown only now; the old one lets in a while longer"), s.rotateToken)
	handle(a, empty(op("delete-token", del, "/tokens/{name}", "Take a token's access away")), s.deleteToken)
	handle(a, op("list-credentials", get, "/credentials", "Registry logins, by host, without their passwords"), s.listCredentials)
	handle(a, op("put-credential", put, "/credentials/{host}", "Keep a registry's login"), s.putCredential)
	handle(a, op("get-credential", get, "/credentials/{host}", "A registry's login, without its password"), s.getCredential)
	handle(a, empty(op("delete-credential", del, "/credentials/{host}", "Forget a registry's login")), s.deleteCredential)
	handle(a, op("rotate-key", post, "/secrets/rotate-key", "Make a new key, and seal secrets and logins with it"), s.rotateKey)
	handle(a, op("list-hooks", get, "/hooks", "Web hooks, by name, with how they do"), s.listHooks)
	handle(a, created(op("create-hook", post, "/hooks", "Make a web hook; its secret is shown only now")), s.createHook)
	handle(a, op("test-hook", post, "/hooks/{name}/test", "Send a test to a web hook, once"), s.testHook)
	handle(a, empty(op("delete-hook", del, "/hooks/{name}", "Remove a web hook")), s.deleteHook)
	handle(a, op("audit", get, "/audit", "Who called what on this node, the oldest first"), s.audit)
	handle(a, op("prune", post, "/prune", "Remove what nothing needs any more"), s.prune)
	handle(a, empty(op("shutdown", post, "/shutdown", "Stop ikada on this node, tasks included; only over the unix socket")), s.shutdown)
}

func accepted(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusAccepted
	return op
}

func created(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusCreated
	return op
}

func empty(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusNoContent
	return op
}

// open marks an operation that needs no token.
func open(op huma.Operation) huma.Operation {
	op.Security = []map[string][]string{{}}
	return op
}

// upgraded describes an operation whose connection is handed to another protocol.
func upgraded(op huma.Operation, description string) huma.Operation {
	op.Description = description
	op.DefaultStatus = http.StatusSwitchingProtocols
	op.Responses = map[string]*huma.Response{"101": {Description: "Switching protocols"}}
	return op
}
