package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// halt is what etcd does when it cannot go on. While it starts it is an error, which says what to do; later it ends the
// process, since nothing may be acknowledged any more.
type halt struct {
	ready atomic.Bool
	err   chan error
}

// OnWrite implements zapcore.CheckWriteHook: etcd has written down that it cannot go on, and expects not to come back.
func (h *halt) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	if h.ready.Load() {
		os.Exit(1)
	}
	why := []string{e.Message}
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok {
			why = append(why, err.Error())
		}
	}
	h.tell(strings.Join(why, ": "))
	runtime.Goexit()
}

func (h *halt) tell(why string) {
	err := fmt.Errorf("its files are damaged (%s); restore the data directory from a backup: what runs goes on meanwhile", why)
	if full(why) {
		err = fmt.Errorf("no disk space is left for its files (%s); free some: what runs goes on meanwhile", why)
	}
	select {
	case h.err <- err:
	default: // the first reason is the one
	}
}

// full tells whether the reason of an error, which etcd gives in words, is a full disk.
func full(why string) bool {
	return strings.Contains(why, unix.ENOSPC.Error()) || strings.Contains(why, unix.EDQUOT.Error())
}

// start starts the member. What it finds damaged is an error, in whatever way etcd takes it.
func (c Config) start(h *halt) (*embed.Etcd, error) {
	if err := readable(c.database()); err != nil {
		h.tell(err.Error())
		return nil, <-h.err
	}
	if err := c.trimLog(); err != nil {
		return nil, err
	}
	started := make(chan *embed.Etcd, 1)
	failed := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				h.tell(fmt.Sprint(p))
			}
		}()
		member, err := embed.StartEtcd(c.embed(h))
		if err != nil {
			failed <- err
			return
		}
		started <- member
	}()
	select {
	case member := <-started:
		return member, nil
	case err := <-failed:
		if full(err.Error()) {
			h.tell(err.Error())
			return nil, <-h.err
		}
		return nil, fmt.Errorf("%w; where its files are damaged, restore the data directory from a backup: what runs goes on meanwhile", err)
	case err := <-h.err:
		return nil, err
	}
}

// readable says why a database cannot be opened. etcd opens it in a goroutine of its own and panics there, or is ended by
// the kernel where it reads beyond the end of the file.
func readable(path string) (err error) {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read %s: %v", path, p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { _ = db.Close() }()
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > fi.Size() {
			return fmt.Errorf("read %s: it has %d bytes, expected %d", path, fi.Size(), tx.Size())
		}
		return nil
	})
}
