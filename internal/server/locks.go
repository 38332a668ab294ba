package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type lockInput struct {
	EnvPath
	Body *api.LockRequest
}

type renewInput struct {
	EnvPath
	Body api.RenewRequest
}

type unlockInput struct {
	EnvPath
	ID    string `query:"id" maxLength:"64" doc:"Only this lock"`
	Force bool   `query:"force" doc:"Whoever holds it"`
}

// heldLock gives the lock that is in force; nil when there is none.
func heldLock(tx store.Tx, ref api.EnvRef, now time.Time) (*api.Lock, error) {
	l, err := store.Find[api.Lock](tx, store.LockKey(ref))
	if err != nil || !l.Held(now) {
		return nil, err
	}
	return l, nil
}

// passLock refuses a change of an environment that another has locked. It is asked in the transaction of the change, so
// that nothing slips in between. A request that says it runs under a session's lock is refused once that is lost: what
// it relies on may be so no more.
func (s *Server) passLock(ctx context.Context, tx store.Tx, ref api.EnvRef) error {
	l, err := heldLock(tx, ref, s.now())
	if err != nil {
		return err
	}
	shown, under := strings.CutPrefix(requestOf(ctx).lock, ref.String()+"/")
	switch {
	case under && (l == nil || l.ID != shown):
		return api.Errorf(api.Conflict, "the lock of %s under which this was to run is lost: it was not renewed in time, or broken", ref)
	case l == nil:
		return nil
	case l.Holder == callerOf(ctx).Name && (!l.Session || under):
		return nil
	}
	return lockedBy(l)
}

// lockedBy is the error of what a lock forbids.
func lockedBy(l *api.Lock) error {
	what := "locked by " + l.Holder
	if l.Session {
		what += ", for as long as a command of theirs runs"
	} else {
		what += " until " + l.ExpiresAt.UTC().Format("2006-01-02 15:04:05 MST")
	}
	if l.Why != "" {
		what += ": " + l.Why
	}
	return api.Errorf(api.Conflict, "%s is %s", l.EnvRef, what)
}

func (s *Server) getLock(ctx context.Context, in *EnvPath) (out api.Lock, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		l, err := heldLock(tx, in.ref(), s.now())
		if err == nil && l == nil {
			err = unlocked(in.ref())
		}
		if err == nil {
			out = *l
		}
		return err
	})
	return out, err
}

func unlocked(ref api.EnvRef) error {
	return api.Errorf(api.NotFound, "%s is not locked", ref)
}

// lock takes a lock. Its holder may change and prolong one that is no session's; a session's is for nobody to share.
func (s *Server) lock(ctx context.Context, in *lockInput) (out api.Lock, err error) {
	var req api.LockRequest
	if in.Body != nil {
		req = *in.Body
	}
	lasts, err := lockTime(req)
	if err != nil {
		return out, err
	}
	by, id := callerOf(ctx).Name, newLockID()
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		now := s.now()
		if err := s.lockable(tx, in.ref(), req.Session); err != nil {
			return err
		}
		out = api.Lock{EnvRef: in.ref(), ID: id, Holder: by, Why: req.Why, Session: req.Session, CreatedAt: now, ExpiresAt: now.Add(lasts)}
		old, err := heldLock(tx, in.ref(), now)
		if err != nil {
			return err
		}
		switch {
		case old == nil:
		case old.Holder == by && !old.Session && !req.Session:
			out.ID, out.CreatedAt = old.ID, old.CreatedAt
		case !req.Force:
			return lockedBy(old)
		default:
			if err := s.breakLock(ctx, tx, old); err != nil {
				return err
			}
		}
		if err := dropExpired(tx, now); err != nil {
			return err
		}
		if err := store.Put(tx, store.LockKey(out.EnvRef), out); err != nil {
			return err
		}
		message := lockedBy(&out).Error()
		return store.AddEvent(tx, api.Event{EnvRef: out.EnvRef, Type: "lock.taken", Message: message})
	})
	return out, err
}

// lockTime checks how a lock is asked for and gives how long it holds.
func lockTime(req api.LockRequest) (time.Duration, error) {
	if len(req.Why) > api.MaxLockWhy {
		return 0, api.FieldError("why", fmt.Sprintf("%d bytes", len(req.Why)), fmt.Sprintf("at most %d", api.MaxLockWhy))
	}
	lasts := req.For.Std()
	switch {
	case req.Session && lasts != 0:
		return 0, api.FieldError("for", req.For.String(), "none with session: it holds for as long as it is renewed")
	case req.Session:
		return api.SessionLock, nil
	case lasts == 0:
		return api.DefaultLock, nil
	case lasts < api.MinLock || lasts > api.MaxLock:
		return 0, api.FieldError("for", req.For.String(), fmt.Sprintf("%s to %s", api.MinLock, api.MaxLock))
	}
	return lasts, nil
}

// lockable tells whether there is something to lock: a session's lock may come before the first deploy, which it is
// there for; else the name is more likely a slip.
func (s *Server) lockable(tx store.Tx, ref api.EnvRef, session bool) error {
	env, err := loadEnvironment(tx, ref)
	if session && api.IsKind(err, api.NotFound) {
		return nil
	}
	if err == nil && env.Destroying {
		return api.Errorf(api.Conflict, "environment %s is being destroyed", ref)
	}
	return err
}

// breakLock writes down that a lock was ended by another than its session or holder, whose right that must be: an
// admin's, or the holder's own.
func (s *Server) breakLock(ctx context.Context, tx store.Tx, old *api.Lock) error {
	by := callerOf(ctx).Name
	if by != old.Holder {
		if err := allow(ctx, api.RoleAdmin, old.EnvRef); err != nil {
			return err
		}
	}
	return store.AddEvent(tx, api.Event{EnvRef: old.EnvRef, Type: "lock.broken", Level: api.LevelWarn,
		Message: fmt.Sprintf("the lock of %s, held by %s, was broken by %s", old.EnvRef, old.Holder, by)})
}

// dropLock ends the lock of an environment that goes. A session's stays with its command, which may deploy it anew.
func (s *Server) dropLock(tx store.Tx, ref api.EnvRef) error {
	l, err := heldLock(tx, ref, s.now())
	if err == nil && l != nil && !l.Session {
		tx.Delete(store.LockKey(ref))
	}
	return err
}

// dropExpired removes locks that have ended, so that those of environments that are gone do not stay.
func dropExpired(tx store.Tx, now time.Time) error {
	all, err := store.List[api.Lock](tx, store.Locks)
	for _, l := range all {
		if !l.Held(now) {
			tx.Delete(store.LockKey(l.EnvRef))
		}
	}
	return err
}

// renewLock holds a session's lock on. One that has expired stays lost: others may have passed meanwhile.
func (s *Server) renewLock(ctx context.Context, in *renewInput) (out api.Lock, err error) {
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		l, err := heldLock(tx, in.ref(), s.now())
		switch {
		case err != nil:
			return err
		case l == nil || l.ID != in.Body.ID || l.Holder != callerOf(ctx).Name:
			return api.Errorf(api.Conflict, "the lock of %s is lost: it was not renewed in time, or broken", in.ref())
		case !l.Session:
			return api.FieldError("id", in.Body.ID, "a session's lock; lock again to prolong another")
		}
		out = *l
		out.ExpiresAt = s.now().Add(api.SessionLock)
		return store.Put(tx, store.LockKey(out.EnvRef), out)
	})
	return out, err
}

func (s *Server) unlock(ctx context.Context, in *unlockInput) (struct{}, error) {
	by := callerOf(ctx).Name
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		l, err := heldLock(tx, in.ref(), s.now())
		if err != nil {
			return err
		}
		if l == nil || in.ID != "" && in.ID != l.ID {
			return unlocked(in.ref())
		}
		tx.Delete(store.LockKey(l.EnvRef))
		switch {
		case l.Holder == by && (!l.Session || in.ID == l.ID):
			return store.AddEvent(tx, api.Event{EnvRef: l.EnvRef, Type: "lock.released",
				Message: fmt.Sprintf("%s was unlocked by %s", l.EnvRef, by)})
		case !in.Force:
			return lockedBy(l)
		}
		return s.breakLock(ctx, tx, l)
	})
	return struct{}{}, err
}

func newLockID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
