package api

import "time"

// Version tells which ikada answers.
type Version struct {
	Version string `json:"version"`
	Node    string `json:"node,omitempty"` // name of the node that answered
	DataDir string `json:"dataDir,omitempty"`
}

// Health is what anyone may ask: whether the server takes requests.
type Health struct {
	OK bool `json:"ok"`
}

// ScaleRequest sets replicas by hand, service → number; they win over the release's until the environment is
// destroyed. A negative number gives the service back to its release.
type ScaleRequest map[string]int

// RestartRequest asks for fresh tasks of the same images and configuration.
type RestartRequest struct {
	Services []string `json:"services,omitempty"` // empty: all
}

// EventQuery chooses events.
type EventQuery struct {
	App    string `json:"app,omitempty"`
	Env    string `json:"env,omitempty"`
	After  string `json:"after,omitempty"` // ID of the last event that is known: only later ones
	Limit  int    `json:"limit,omitempty"` // only the last so many of what is there already; 0 is all
	Follow bool   `json:"follow,omitempty"`
}

// TokenRequest asks for a new token.
type TokenRequest struct {
	Name      string   `json:"name"`
	User      string   `json:"user,omitempty"`      // whose it is; "" is a user of the token's name
	Grants    Grants   `json:"grants,omitempty"`    // what it lets do; none is everything
	ExpiresIn Duration `json:"expiresIn,omitempty"` // 0: never
}

// RotateRequest asks for a new secret of a token.
type RotateRequest struct {
	Grace     *Duration `json:"grace,omitempty"`     // how long the old one lets in besides; nil is DefaultGrace
	ExpiresIn Duration  `json:"expiresIn,omitempty"` // 0: as long from now as it was given at first
}

// How long the old secret of a rotated token lets in.
const (
	DefaultGrace = 24 * time.Hour
	MaxGrace     = 30 * 24 * time.Hour
)

// TokenView is a token without what could let anyone in.
type TokenView struct {
	Name      string    `json:"name"`
	User      string    `json:"user"`
	Grants    Grants    `json:"grants"`
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy,omitempty"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	RotatedAt time.Time `json:"rotatedAt,omitzero"`
	OldUntil  time.Time `json:"oldUntil,omitzero"` // until when the secret before the last rotation lets in
}

// NewToken is a token at the only moment at which its secret is known.
type NewToken struct {
	TokenView
	Secret string `json:"secret"`
}

// CredentialRequest is a login at a registry.
type CredentialRequest struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Credential is a kept login at a registry. Its password is sealed and never given out.
type Credential struct {
	Host      string    `json:"host"`
	Username  string    `json:"username"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// PruneRequest asks for the removal of what nothing needs any more.
type PruneRequest struct {
	DryRun bool `json:"dryRun,omitempty"` // only tell
	All    bool `json:"all,omitempty"`    // the build cache too, whatever its age

	// UnusedFor spares images that were built, pulled or asked for within this time: a release that is being made may
	// need them. nil is an hour, ten minutes with All.
	UnusedFor *Duration `json:"unusedFor,omitempty"`
}

// PruneReport tells what was removed, or would be.
type PruneReport struct {
	Items []PruneItem `json:"items"`
	Bytes int64       `json:"bytes"` // freed on disk
}

// PruneItem is one removed thing.
type PruneItem struct {
	Kind  string `json:"kind"` // "image", "blob", "snapshot", "build cache", "release", "log", "namespace"
	Name  string `json:"name"`
	Bytes int64  `json:"bytes,omitempty"`
}

// Winsize is a terminal's size in characters.
type Winsize struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// ExecFrame is the first byte of every binary message of an exec connection; the rest is the payload. The caller's
// first message is text: an ExecRequest as JSON.
type ExecFrame byte

// The frames of an exec connection. Caller to server: stdin, resize, signal. Server to caller: stdout, stderr, and as
// the last one exit.
const (
	FrameStdin  ExecFrame = 0 // bytes; an empty payload is the end of input
	FrameStdout ExecFrame = 1
	FrameStderr ExecFrame = 2
	FrameResize ExecFrame = 3 // Winsize as JSON
	FrameSignal ExecFrame = 4 // name, "SIGINT"
	FrameExit   ExecFrame = 5 // ExecResult as JSON
)

// ExecResult is how an exec ended: with an exit code, or with an error because the command could not be run.
type ExecResult struct {
	Code  int    `json:"code"`
	Error *Error `json:"error,omitempty"`
}
