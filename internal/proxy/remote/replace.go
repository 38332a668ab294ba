package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ikada/ikada/internal/process"
)

// A process is replaced in steps, after each of which ikada may die: its sockets are put aside under another name; a
// successor is started and noted; that gets the listening sockets and the table; the one before is told to retire. The
// next ikada finds how far it came (findReplaced) and goes on from there.

// renew sees to it that the process is of this version and configuration; adopted is the status that it was found with.
func (b *Balancer) renew(ctx context.Context, adopted Status) error {
	if old := b.unfinished; old != "" {
		b.unfinished = ""
		if err := b.finishReplacing(ctx, old); err != nil {
			return err
		}
	} else if adopted.Version == 0 {
		return nil // it serves nothing yet
	}
	if adopted.Build == b.cfg.build() {
		return nil
	}
	return b.replace(ctx)
}

// replace starts a process of this version on the sockets of the one that runs, and lets that one retire.
func (b *Balancer) replace(ctx context.Context) error {
	files, err := fetchListeners(ctx, b.cfg.Socket)
	if err != nil {
		return err
	}
	before := b.supervisor.Current()
	old := b.aside(before.PID())
	if err := b.putAside(old); err != nil {
		closeAll(files)
		return errors.Join(err, b.putBack(old))
	}
	b.mu.Lock()
	b.current = newPeer(b.cfg.Socket) // kept connections lead to the old one
	b.mu.Unlock()
	if err := b.supervisor.Spawn(ctx); err != nil {
		closeAll(files)
		return errors.Join(err, b.putBack(old), before.Note(b.pidPath())) // it goes on with the old one
	}
	b.hold(files)
	return b.succeed(ctx, old)
}

// finishReplacing goes on when a successor runs and the one before was never told to retire.
func (b *Balancer) finishReplacing(ctx context.Context, old string) error {
	files, err := fetchListeners(ctx, old)
	if err != nil {
		return err
	}
	b.hold(files)
	return b.succeed(ctx, old)
}

// succeed lets the current process serve on the sockets that are held, and the one retire that had them.
func (b *Balancer) succeed(ctx context.Context, old string) error {
	p := newPeer(old)
	b.mu.Lock()
	b.retiring[old] = p
	table := b.table
	b.mu.Unlock()
	if err := b.equip(ctx); err != nil {
		return err
	}
	// Both accept now. The old one gets the table once more and then lets go of the sockets.
	if _, err := p.table(ctx, table); err != nil {
		return err
	}
	st, err := p.retire(ctx)
	b.noteRetiring(old, st, err)
	b.log.Info("balancer replaced", "version", b.cfg.Version)
	return err
}

// hold keeps copies of listening sockets in place of those it kept.
func (b *Balancer) hold(files map[string]*os.File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	closeAll(b.held)
	b.held = files
}

// findReplaced finds the processes that were replaced. One that was put aside and never told to retire tells of an ikada
// that died in between: if no successor of it was noted, it gets its place back; else the first Apply goes on.
func (b *Balancer) findReplaced(ctx context.Context) error {
	all, err := filepath.Glob(b.cfg.Socket + ".old-*")
	if err != nil {
		return err
	}
	for _, socket := range all {
		if filepath.Ext(socket) == ".fd" {
			continue
		}
		p := newPeer(socket)
		st, err := p.status(ctx, nil)
		if err != nil || st.Retiring {
			b.retiring[socket] = p
			continue
		}
		noted, err := process.Adopt(b.pidPath())
		switch {
		case err != nil:
			return fmt.Errorf("adopt balancer: %w", err)
		case noted != nil && socket == b.aside(noted.PID()):
			if err := b.putBack(socket); err != nil {
				return err
			}
		default:
			b.retiring[socket], b.unfinished = p, socket
		}
	}
	return nil
}

func (b *Balancer) pidPath() string { return b.cfg.Socket + ".pid" }

// aside is the path that the socket of a process gets when it is replaced.
func (b *Balancer) aside(pid int) string { return fmt.Sprintf("%s.old-%d", b.cfg.Socket, pid) }

// putAside makes room for a successor's sockets: a socket follows its name.
func (b *Balancer) putAside(old string) error {
	for _, suffix := range []string{"", ".fd"} {
		if err := os.Rename(b.cfg.Socket+suffix, old+suffix); err != nil {
			return fmt.Errorf("put balancer aside: %w", err)
		}
	}
	return nil
}

// putBack undoes that, as far as it came.
func (b *Balancer) putBack(old string) error {
	for _, suffix := range []string{"", ".fd"} {
		if err := os.Rename(old+suffix, b.cfg.Socket+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put balancer back: %w", err)
		}
	}
	return nil
}
