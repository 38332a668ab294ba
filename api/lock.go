package api

import "time"

// How long locks hold.
const (
	DefaultLock  = time.Hour           // unless told otherwise
	MinLock      = time.Second         // a shorter one would be over before it is of use
	MaxLock      = 30 * 24 * time.Hour // a lock is a lease: none is for ever
	SessionLock  = 15 * time.Second    // of a session, after it was last renewed
	SessionRenew = 4 * time.Second     // between two renewals
	MaxLockWhy   = 500                 // bytes of a reason
)

// LockHeader names, in a request, the session lock that it runs under, as [Lock.Pass] gives it.
const LockHeader = "Ikada-Lock"

// Lock keeps everyone but its holder from changing an environment: deploy, rollback, restart, scale, down, up and
// destroy. It is a lease, which ends by itself; what was under way when it was taken goes on, healing and automatic
// rollback too.
type Lock struct {
	EnvRef
	ID        string    `json:"id"`
	Holder    string    `json:"holder"`            // the user
	Why       string    `json:"why,omitempty"`     // in the holder's words
	Session   bool      `json:"session,omitempty"` // held while a command runs: only what runs under it may pass
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Held tells whether the lock is in force. No process need be alive for it to end.
func (l *Lock) Held(now time.Time) bool { return l != nil && now.Before(l.ExpiresAt) }

// Pass is what a request shows under LockHeader to run under the lock: "shop/production/ID".
func (l *Lock) Pass() string { return l.EnvRef.String() + "/" + l.ID }

// LockRequest asks for a lock.
type LockRequest struct {
	For     Duration `json:"for,omitempty"` // 0 is DefaultLock; a session's is SessionLock
	Why     string   `json:"why,omitempty"`
	Session bool     `json:"session,omitempty"`
	Force   bool     `json:"force,omitempty"` // take another's place; another user's is an admin's to break
}

// RenewRequest asks to hold a session's lock on.
type RenewRequest struct {
	ID string `json:"id"`
}
