package proxy

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// doors is the listening sockets: one for the shared HTTP port, one for each published port of the table.
type doors struct {
	proxy   *Proxy
	mu      sync.Mutex
	started bool
	shared  string          // address of the shared HTTP port, "" for none
	want    map[string]bool // addresses
	open    map[string]*door
	failed  map[string]error
	handed  map[string]net.Listener // by address: sockets that another process handed over and that wait for a table
	closing sync.WaitGroup          // doors that let their last connections finish
}

func newDoors(p *Proxy) *doors {
	return &doors{proxy: p, want: map[string]bool{}, open: map[string]*door{}, failed: map[string]error{}}
}

// start lets sync open sockets from now on, the shared port among them.
func (d *doors) start(shared string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started, d.shared = true, shared
}

// sync opens what published has more than is open and closes the rest; it tells whether anything changed.
func (d *doors) sync(published []string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.started {
		return false
	}
	clear(d.want)
	if d.shared != "" {
		d.want[d.shared] = true
	}
	for _, addr := range published {
		d.want[addr] = true
	}
	changed := false
	for addr, door := range d.open {
		if !d.want[addr] {
			delete(d.open, addr)
			d.close(context.Background(), door)
			changed = true
		}
	}
	for addr := range d.failed {
		if !d.want[addr] {
			delete(d.failed, addr)
			changed = true
		}
	}
	return d.openMissing() || changed
}

// retry opens the ports that could not be had before; it tells whether anything changed.
func (d *doors) retry() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.failed) > 0 && d.openMissing()
}

func (d *doors) openMissing() (changed bool) {
	// The shared port goes first: a published port of the same number must not take it.
	missing := make([]string, 0, len(d.want))
	if d.want[d.shared] && d.open[d.shared] == nil {
		missing = append(missing, d.shared)
	}
	for addr := range d.want {
		if d.open[addr] == nil && addr != d.shared {
			missing = append(missing, addr)
		}
	}
	for _, addr := range missing {
		ln, err := d.listen(addr)
		if err != nil {
			before := d.failed[addr]
			d.failed[addr] = err
			if before == nil || before.Error() != err.Error() {
				changed = true
				d.proxy.cfg.Log.Warn("port cannot be opened", "address", addr, "error", err)
			}
			continue
		}
		delete(d.failed, addr)
		d.open[addr] = newDoor(d.proxy, addr, ln, addr == d.shared)
		changed = true
	}
	return changed
}

// listen opens a port, or takes the socket of it that another process handed over.
func (d *doors) listen(addr string) (net.Listener, error) {
	if ln := d.handed[addr]; ln != nil {
		delete(d.handed, addr)
		return ln, nil
	}
	return (&net.ListenConfig{}).Listen(d.proxy.life, "tcp", addr)
}

// close frees the port at once; connections that carry a request finish it until ctx ends.
func (d *doors) close(ctx context.Context, door *door) {
	_ = door.ln.Close() // it is not used any more, whatever this says
	d.closing.Go(func() { door.finish(ctx) })
}

// stop closes all and waits until their connections have finished, at most until grace ends.
func (d *doors) stop(grace context.Context) {
	d.mu.Lock()
	d.started = false
	for _, door := range d.open {
		d.close(grace, door)
	}
	clear(d.open)
	d.mu.Unlock()
	d.closing.Wait()
}

func (d *doors) failure(addr string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failed[addr]; err != nil {
		return api.Errorf(api.Conflict, "open port %s: %w", addr, err)
	}
	return nil
}

// problems adds to conflicts, why a listener is not there at all, the sockets that could not be opened.
func (d *doors) problems(conflicts map[string]string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := maps.Clone(conflicts)
	for addr, err := range d.failed {
		if all == nil {
			all = map[string]string{}
		}
		all[addr] = err.Error()
	}
	return all
}

func (d *doors) bound(addr string) net.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	if door := d.open[addr]; door != nil {
		return door.ln.Addr()
	}
	return nil
}

// door is one listening socket with the HTTP server for those of its connections that speak HTTP.
type door struct {
	proxy    *Proxy
	addr     string
	ln       net.Listener
	server   *http.Server
	http     *feed // nil at the shared port, where all connections are the server's
	serving  sync.WaitGroup
	passages sync.WaitGroup
}

func newDoor(p *Proxy, addr string, ln net.Listener, shared bool) *door {
	d := &door{proxy: p, addr: addr, ln: ln}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	d.server = &http.Server{
		Protocols:         &protocols,
		ReadHeaderTimeout: p.cfg.HeadTimeout,
		IdleTimeout:       p.cfg.IdleTimeout,
		MaxHeaderBytes:    p.cfg.HeadBytes,
		ErrorLog:          slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
	find, from := byListener(addr), ln
	if shared {
		d.server.Handler = p.handler(func(r *http.Request) func(*table) *pool {
			return func(t *table) *pool { return t.routes.find(r.Host, r.URL.Path) }
		})
	} else {
		d.server.Handler = p.handler(func(*http.Request) func(*table) *pool { return find })
		d.http = newFeed(ln.Addr())
		from = d.http
		d.serving.Go(d.accept)
	}
	// It ends when from is closed, with an error that says just that.
	d.serving.Go(func() { _ = d.server.Serve(from) })
	return d
}

// accept hands each connection to what the table in force says that it speaks.
func (d *door) accept() {
	for {
		c, err := d.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, or a connection that was reset before it was accepted.
			d.proxy.cfg.Log.Warn("connection cannot be accepted", "address", d.addr, "error", err)
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if protocol := d.proxy.current().listeners[d.addr].Protocol; protocol == api.ProtoHTTP {
			d.http.put(c)
		} else {
			d.passages.Go(func() { newPassage(d, c).run(protocol) })
		}
	}
}

// finish waits until the door's connections have ended; it cuts those that speak HTTP when ctx ends.
func (d *door) finish(ctx context.Context) {
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.proxy.life, cancel)()
	if err := d.server.Shutdown(done); err != nil {
		_ = d.server.Close() // nothing is left to be told of an error
	}
	d.serving.Wait()
	d.passages.Wait()
}

// feed is the connections of a door that turned out to speak HTTP, as a net.Listener for its server.
type feed struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newFeed(addr net.Addr) *feed {
	return &feed{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// put gives the connection to the server, or closes it when the door is closed.
func (f *feed) put(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.done:
		_ = c.Close()
	}
}

// Accept gives the next connection, net.ErrClosed after Close.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr gives the door's address.
func (f *feed) Addr() net.Addr { return f.addr }
