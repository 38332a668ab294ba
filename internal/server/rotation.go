package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

// Bounds of one transaction that seals anew.
const (
	resealCount = 64
	resealBytes = 2 << 20
)

// errUnreadable tells that a sealed value cannot be opened.
var errUnreadable = errors.New("the value cannot be read")

// rotatePause is waited before a rotation that was cut off is tried again.
const rotatePause = 5 * time.Second

// rotateKey makes a new key, seals all secrets and logins with it, and removes the old one.
func (s *Server) rotateKey(ctx context.Context, _ *none) (api.KeyRotation, error) {
	by := callerOf(ctx).Name
	// A caller that leaves does not leave it half done.
	return s.rotate(context.WithoutCancel(ctx), by)
}

// FinishRotation brings a rotation of the key to its end that an earlier process has begun, if there is one. It tries
// until ctx ends.
func (s *Server) FinishRotation(ctx context.Context) {
	for s.key.Rotating() {
		n, err := s.rotate(ctx, "ikada, which went on with it after a restart")
		if err == nil {
			s.log.Info("secret key rotated", "secrets", n.Secrets, "credentials", n.Credentials, "hooks", n.Hooks)
			return
		}
		if ctx.Err() != nil {
			return
		}
		s.log.Error("rotate secret key", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(rotatePause):
		}
	}
}

func (s *Server) rotate(ctx context.Context, by string) (n api.KeyRotation, err error) {
	if !s.rotating.TryLock() {
		return n, api.Errorf(api.Conflict, "the key is being rotated already")
	}
	defer s.rotating.Unlock()
	// What seals now is written before the key changes; what seals from then on does so with the new key. So nothing that
	// the old one has sealed comes after the search for it.
	s.sealing.Lock()
	err = s.key.Rotate()
	s.sealing.Unlock()
	if err != nil {
		return n, err
	}
	n.Secrets, err = s.reseal(ctx, store.Secrets, func(tx store.Tx, key string) (bool, error) {
		return resealed(tx, key, s.key.ResealSecret)
	})
	if err != nil {
		return n, err
	}
	n.Credentials, err = s.reseal(ctx, store.Credentials, func(tx store.Tx, key string) (bool, error) {
		return resealed(tx, key, s.key.ResealCredential)
	})
	if err != nil {
		return n, err
	}
	n.Hooks, err = s.reseal(ctx, store.Hooks, func(tx store.Tx, key string) (bool, error) {
		return resealed(tx, key, s.key.ResealHook)
	})
	if err != nil {
		return n, err
	}
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		return store.AddEvent(tx, api.Event{Type: "key.rotated", Level: api.LevelWarn, Message: "the key that seals secrets was rotated by " + by})
	})
	if err != nil {
		return n, err
	}
	return n, s.key.Retire()
}

// reseal has everything under prefix sealed anew, in transactions of bounded size, and counts what was.
func (s *Server) reseal(ctx context.Context, prefix string, one func(tx store.Tx, key string) (bool, error)) (int, error) {
	type item struct {
		key  string
		size int
	}
	var items []item
	_, err := s.store.View(ctx, func(tx store.Tx) error {
		items = nil
		entries, err := tx.List(prefix)
		for _, e := range entries {
			items = append(items, item{e.Key, len(e.Value)})
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	total := 0
	for len(items) > 0 {
		n, size := 0, 0
		for n < len(items) && n < resealCount && (n == 0 || size+items[n].size <= resealBytes) {
			size += items[n].size
			n++
		}
		changed := 0
		_, err := s.store.Update(ctx, func(tx store.Tx) error {
			changed = 0
			for _, it := range items[:n] {
				did, err := one(tx, it.key)
				switch {
				case errors.Is(err, errUnreadable):
					// Neither key opens it: it is lost already, and is to keep nobody from a new key.
					s.log.Error("seal anew", "key", it.key, "error", err)
				case err != nil:
					return err
				case did:
					changed++
				}
			}
			return nil
		})
		if err != nil {
			return total, err
		}
		total, items = total+changed, items[n:]
	}
	return total, nil
}

// resealed seals the object at a key anew, if it is still there.
func resealed[T api.SealedSecret | auth.SealedCredential | api.SealedHook](tx store.Tx, key string, seal func(T) (T, bool, error)) (bool, error) {
	old, err := store.Find[T](tx, key)
	if err != nil || old == nil {
		return false, err
	}
	fresh, changed, err := seal(*old)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if !changed {
		return false, nil
	}
	return true, store.Put(tx, key, fresh)
}
