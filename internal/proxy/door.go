package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
)

// doors is the listening sockets: one for the shared HTTP port, one for each published port of the table.
type doors struct {
	proxy   *Proxy
	mu      sync.Mutex
	started bool
	shared  map[string]kind // addresses of the ports that are there whatever the table says
	want    map[string]bool // addresses
	open    map[string]*door
	failed  map[string]error
	handed  map[string]net.Listener // by address: sockets that another process handed over and that wait for a table
	closing sync.WaitGroup          // doors that let their last connections finish
}

func newDoors(p *Proxy) *doors {
	return &doors{proxy: p, want: map[string]bool{}, open: map[string]*door{}, failed: map[string]error{}}
}

// start lets sync open sockets from now on, the shared ports among them.
func (d *doors) start(shared map[string]kind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started, d.shared = true, shared
}

// share changes the shared ports; sync opens them.
func (d *doors) share(shared map[string]kind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shared = shared
}

func (d *doors) kindOf(addr string) kind {
	if k, shared := d.shared[addr]; shared {
		return k
	}
	return published
}

// sync opens what published has more than is open and closes the rest; it tells whether anything changed.
func (d *doors) sync(published []string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.started {
		return false
	}
	clear(d.want)
	for addr := range d.shared {
		d.want[addr] = true
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
	missing := make([]string, 0, len(d.want))
	for addr := range d.want {
		if d.open[addr] == nil {
			missing = append(missing, addr)
		}
	}
	// The shared ports go first: a published port of the same number must not take one.
	slices.SortFunc(missing, func(a, b string) int { return cmp.Or(cmp.Compare(d.kindOf(a), d.kindOf(b)), cmp.Compare(a, b)) })
	for _, addr := range missing {
		ln, err := d.listen(addr)
		if err != nil {
			before := d.failed[addr]
			d.failed[addr] = err
			if before == nil || before.Error() != err.Error() {
				changed = true
				d.proxy.log.Warn("port cannot be opened", "address", addr, "error", err)
			}
			continue
		}
		delete(d.failed, addr)
		d.open[addr] = newDoor(d.proxy, addr, ln, d.kindOf(addr))
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
	return listenConfig().Listen(d.proxy.life, "tcp", addr)
}

// listenConfig asks the kernel once to look whether silent clients are still there: connections inherit it from their
// listening socket, where net would spend five system calls on each.
func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			cerr := c.Control(func(fd uintptr) {
				err = errors.Join(
					syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1),
					syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveSeconds),
					syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveSeconds),
					syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveProbes),
				)
			})
			return errors.Join(cerr, err)
		},
	}
}

// A silent client is asked after so many seconds, and given up after so many questions without an answer.
const (
	keepAliveSeconds = 30
	keepAliveProbes  = 4
)

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
	if addr == "" {
		return nil
	}
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

// kind is what a door's connections may speak, and how their requests find their entry.
type kind int

const (
	sharedHTTP  kind = iota // HTTP, routed by host and path
	sharedHTTPS             // the same in TLS
	virtual                 // what the table says, to the service that the connection was meant for
	published               // what the table says, to one pool
)

// door is one listening socket.
type door struct {
	proxy *Proxy
	addr  string
	kind  kind
	ln    net.Listener

	closing   atomic.Bool // no further request is wanted on its connections
	accepting sync.WaitGroup
	conns     sync.WaitGroup
	http2     *http.Server
	handed    *feed    // connections that turned out to speak HTTP/2
	guests    sync.Map // net.Conn → *guest, those of them that have not ended
}

// acceptors is how many goroutines accept connections on one socket.
const acceptors = 2

func newDoor(p *Proxy, addr string, ln net.Listener, k kind) *door {
	d := &door{proxy: p, addr: addr, kind: k, ln: ln, handed: newFeed(ln.Addr())}
	d.http2 = d.newHTTP2()
	for range acceptors {
		d.accepting.Go(d.accept)
	}
	// It ends when the feed is closed, with an error that says just that.
	d.accepting.Go(func() { _ = d.http2.Serve(d.handed) })
	return d
}

func (d *door) newHTTP2() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           &http2Handler{d},
		Protocols:         &protocols,
		ReadHeaderTimeout: d.proxy.cfg.HeadTimeout,
		IdleTimeout:       d.proxy.cfg.IdleTimeout,
		MaxHeaderBytes:    d.proxy.cfg.HeadBytes,
		HTTP2:             &http.HTTP2Config{MaxReadFrameSize: 16 << 10, MaxConcurrentStreams: 250},
		ErrorLog:          slog.NewLogLogger(d.proxy.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if g, ok := d.guests.Load(c); ok {
				return context.WithValue(ctx, clientKey{}, g.(*guest).from)
			}
			return ctx
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			if s != http.StateClosed {
				return
			}
			if g, ok := d.guests.LoadAndDelete(c); ok {
				close(g.(*guest).ended)
			}
		},
	}
}

// ending tells whether no further request is wanted on the door's connections.
func (d *door) ending() bool { return d.closing.Load() || d.proxy.retiring.Load() }

// find gives the entry of a request.
func (d *door) find(t *table, x *exchange) *entry {
	if d.kind >= virtual {
		return d.direct(t, x.client)
	}
	return t.routes.find(x.host, x.path, x.request)
}

// accept serves each connection in a goroutine of its own.
func (d *door) accept() {
	for {
		c, err := d.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, or a connection that was reset before it was accepted.
			d.proxy.log.Warn("connection cannot be accepted", "address", d.addr, "error", err)
			time.Sleep(20 * time.Millisecond)
			continue
		}
		d.conns.Go(func() { d.serve(c.(*net.TCPConn)) })
	}
}

// serve finds out what a connection speaks.
func (d *door) serve(c *net.TCPConn) {
	from, err := d.clientOf(c)
	if err != nil {
		_ = c.Close()
		return
	}
	release, ok := d.proxy.clients.admit(from.addr)
	if !ok {
		_ = c.Close()
		return
	}
	defer release()
	head := from.head
	switch {
	case d.kind == sharedHTTPS:
		d.serveTLS(c, head, from.client)
	case d.kind >= virtual && d.protocol(&from.client) != api.ProtoHTTP:
		newPassage(d, c, head, from.client).run(d.protocol(&from.client))
	default:
		d.serveHTTP(c, nil, head, from.client)
	}
}

// serveHTTP serves a connection that speaks HTTP of any version; head has been read from it.
func (d *door) serveHTTP(c *net.TCPConn, t *tls.Conn, head []byte, from client) {
	k, err := newConn(d, c, t, head, from)
	if err != nil {
		_ = c.Close()
		return
	}
	rest, http2 := k.run()
	if http2 {
		d.serveHTTP2(&heard{TCPConn: c, head: rest}, from)
	}
}

// serveHTTP2 gives the connection to the server and returns when it has ended.
func (d *door) serveHTTP2(c net.Conn, from client) {
	g := &guest{from: from, ended: make(chan struct{})}
	d.guests.Store(c, g)
	defer d.guests.Delete(c)
	if d.handed.put(c) {
		<-g.ended
	}
}

// guest is a connection that the server of HTTP/2 has.
type guest struct {
	from  client
	ended chan struct{}
}

// finish waits until the door's connections have ended; it cuts them when ctx ends.
func (d *door) finish(ctx context.Context) {
	d.closing.Store(true)
	cut := func() {
		_ = d.http2.Close() // nothing is left to be told of an error
		d.proxy.registry.each(func(c *conn) {
			if c.door == d {
				c.sever()
			}
		})
	}
	defer context.AfterFunc(ctx, cut)()
	defer context.AfterFunc(d.proxy.life, cut)()
	d.hurry()
	if d.http2.Shutdown(ctx) != nil {
		_ = d.http2.Close()
	}
	d.accepting.Wait()
	// One that was accepted just before the socket was closed may have missed the first call.
	d.hurry()
	d.conns.Wait()
}

// hurry closes the connections that wait for a request.
func (d *door) hurry() {
	d.proxy.registry.each(func(c *conn) {
		if c.door == d && c.phase.Load() == phaseIdle {
			_ = c.SetReadDeadline(past)
		}
	})
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
func (f *feed) put(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		_ = c.Close()
		return false
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
