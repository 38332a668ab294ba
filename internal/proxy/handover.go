package proxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"
)

// retireTime is how long a retiring balancer still answers on kept connections, telling their clients to close them,
// before it closes the idle ones itself.
const retireTime = 2 * time.Second

// Inherit takes over listening sockets, by address, that another process has opened. They are used for ports that a
// table names; those that the first table applied after it does not name are closed. It must be called before Open.
func (p *Proxy) Inherit(listeners map[string]net.Listener) {
	p.doors.mu.Lock()
	defer p.doors.mu.Unlock()
	p.doors.handed = listeners
}

// dropHanded closes handed-over sockets that nothing wants.
func (d *doors) dropHanded() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for addr, ln := range d.handed {
		_ = ln.Close()
		delete(d.handed, addr)
	}
}

// Listeners gives copies of the open listening sockets by address, to be handed to another process or kept so that
// the ports survive this one. The caller closes them.
func (p *Proxy) Listeners() (map[string]*os.File, error) {
	p.doors.mu.Lock()
	defer p.doors.mu.Unlock()
	out := map[string]*os.File{}
	for addr, door := range p.doors.open {
		ln, ok := door.ln.(*net.TCPListener)
		if !ok {
			continue
		}
		f, err := ln.File()
		if err != nil {
			for _, f := range out {
				_ = f.Close()
			}
			return nil, fmt.Errorf("copy socket of %s: %w", addr, err)
		}
		out[addr] = f
	}
	return out, nil
}

// Retire stops accepting, since another process accepts on the same sockets from now on, and returns when the last
// connection has ended or ctx has. Kept connections are answered by the tables that still come, each answer telling
// its client to close; what is idle after that is closed.
func (p *Proxy) Retire(ctx context.Context) {
	p.retiring.Store(true)
	p.doors.mu.Lock()
	p.doors.started = false
	for _, door := range p.doors.open {
		_ = door.ln.Close()
	}
	p.doors.mu.Unlock()
	timer := time.NewTimer(retireTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	spared := context.AfterFunc(ctx, func() {
		p.end()
		p.conns.closeAll()
	})
	defer spared()
	p.doors.stop(ctx)
	p.conns.wait()
}
