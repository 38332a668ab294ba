package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

// Deps is what a server works with. Store, Key and Log are required; an operation whose part is nil answers
// Unavailable.
type Deps struct {
	Version api.Version
	Store   store.Store
	Key     *auth.Key
	Log     *slog.Logger

	Images      Images
	Builder     Builder
	Tasks       Tasks
	Traffic     Traffic
	Rehearser   Rehearser
	Metrics     Metrics
	Housekeeper Housekeeper
	Audit       Audit
	Hooks       Hooks
	Signer      *auth.Signer // of receipts
	Registry    http.Handler // at /v2/
	Shutdown    func()       // begins to stop the node, tasks included; does not block
	Dashboard   http.Handler // at every other path, without a token; may be nil
}

// Images looks at images in registries and on this node.
type Images interface {
	// Resolve gives ref pinned by digest (name@sha256:…). policy is a service's: "" or "missing" may take what the
	// node has, "always" asks the registry, "never" must find it here. A reference that is pinned already comes back
	// as it is, once the image is known to exist. Errors are of kind NotFound, Unauthorized, Unavailable or Invalid.
	Resolve(ctx context.Context, ref, policy string) (pinned string, err error)
	// Config gives what the image says about how to run it.
	Config(ctx context.Context, pinned string) (api.ImageConfig, error)
}

// Builder builds images.
type Builder interface {
	// Build builds with the files of the session that the request names, and gives the pinned reference of the
	// result. progress, called by one goroutine at a time, gets what happens, but neither result nor error. When ctx
	// ends the build is cancelled.
	Build(ctx context.Context, req api.BuildRequest, progress func(api.BuildEvent)) (image string, err error)
	// App gives the app whose repository of the cluster's own registry a tag names; false for a tag of another registry.
	App(tag string) (app string, own bool)
	// Session takes the connection of a client's session over and serves it until it or the request's context ends.
	Session(w http.ResponseWriter, r *http.Request)
}

// Tasks reaches the containers of tasks, on whichever node they are.
type Tasks interface {
	// Logs opens the output of a task, which may have ended. The lines' Time, Stream, Text and Partial count.
	Logs(ctx context.Context, task string, q LogQuery) (LogReader, error)
	// Exec runs a command in a task's container and gives its exit code; an error means that it could not be run.
	// When ctx ends the command is killed.
	Exec(ctx context.Context, task string, x Exec) (code int, err error)
}

// Traffic tells what the balancers have seen of an environment's requests. Errors are of kind Invalid or Unavailable.
type Traffic interface {
	// Traffic gives counts, without the node's name and the slots of tasks.
	Traffic(ctx context.Context, env api.EnvRef, q api.TrafficQuery) (api.Traffic, error)
	// Failures explains failed requests, newest first, without the slots of tasks.
	Failures(ctx context.Context, env api.EnvRef, q api.FailureQuery) ([]api.Failure, error)
}

// Rehearser plays deployments before they are made.
type Rehearser interface {
	// Rehearse plays a queued deployment to a release, in an environment as it would be then, and what becomes of it when
	// something goes wrong. It writes nothing, and sees what stands in the store up to the revision rev. It fills the
	// response's Rehearsal, Notes and WhatIf. Errors are of kind Invalid.
	Rehearse(ctx context.Context, rev int64, env api.Environment, release *api.Release, d *api.Deployment, whatIf []api.Hazard) (api.PlanResponse, error)
}

// Metrics tells what ikada has counted.
type Metrics interface {
	// Write writes the page in Prometheus' text format, with the environments that may be seen.
	Write(ctx context.Context, w io.Writer, seen func(api.EnvRef) bool) error
	// CheckQuery refuses what is no query of these metrics, with an error of kind Invalid.
	CheckQuery(query string) error
}

// LogQuery says which lines of a task's output to give.
type LogQuery struct {
	Since  time.Time // zero: from the beginning
	Tail   int       // only the last n of those; negative: all
	Follow bool      // go on until the context ends or the task's log is closed for good
}

// LogReader gives lines one after another; io.EOF at the end. Next is called by one goroutine.
type LogReader interface {
	Next() (api.LogLine, error)
	Close() error
}

// Exec is a command for a task.
type Exec struct {
	Request api.ExecRequest
	Held    bool      // run what the task's container holds back, in place of the request's command
	Stdin   io.Reader // nil: empty
	Stdout  io.Writer
	Stderr  io.Writer
	Resize  <-chan api.Winsize // the first value is the size at the start, with a terminal
	Signals <-chan string
}

// Housekeeper removes what nothing needs any more.
type Housekeeper interface {
	Prune(ctx context.Context, req api.PruneRequest) (api.PruneReport, error)
}
