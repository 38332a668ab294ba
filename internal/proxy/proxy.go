package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// Config is what a balancer needs to know. The zero value listens on published ports only, with the defaults below.
type Config struct {
	HTTP  string       // address of the shared HTTP port, such as ":80"; "" is none
	HTTPS string       // address of the shared HTTPS port; "" is none
	Certs string       // directory of its certificates: NAME.crt with NAME.key, or NAME.pem with both
	Log   *slog.Logger // nil: nothing is logged

	TrustProxy    []netip.Prefix // whose word about its own clients is taken
	ProxyProtocol bool           // connections from those begin with the PROXY protocol, version 1 or 2

	AccessLog       string // file; "" is none
	AccessLogSample int    // one of so many requests, and every failed one; 0 is 1

	ClientConns int           // connections of one client address at a time; 0: 16384
	Queue       int           // requests that one pool holds while it has no target; 0: 1024
	FirstTable  time.Duration // how long a request waits for the first route table of all; 0: 10 s
	HeadTimeout time.Duration // for a client to send a request's head; 0: 10 s
	IdleTimeout time.Duration // for a client's next request on a kept connection; 0: 75 s
	StallTime   time.Duration // for a client to send more of a request's body, or to take more of an answer; 0: 1 minute
	HeadBytes   int           // largest request head; 0: 64 KiB
	Grace       time.Duration // for requests in flight when Run is cancelled, then they are cut; 0: 3 s
}

// Validate tells which field cannot be meant.
func (c Config) Validate() error {
	for name, addr := range map[string]string{"HTTP": c.HTTP, "HTTPS": c.HTTPS} {
		if addr == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return api.FieldError(name, addr, "an address such as :80 or 127.0.0.1:8080")
		}
	}
	if c.HTTPS != "" && c.Certs == "" {
		return api.FieldError("Certs", "", "the directory of the certificates for HTTPS")
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Queue", int64(c.Queue)}, {"FirstTable", int64(c.FirstTable)}, {"HeadTimeout", int64(c.HeadTimeout)},
		{"IdleTimeout", int64(c.IdleTimeout)}, {"StallTime", int64(c.StallTime)}, {"HeadBytes", int64(c.HeadBytes)}, {"Grace", int64(c.Grace)},
		{"ClientConns", int64(c.ClientConns)}, {"AccessLogSample", int64(c.AccessLogSample)},
	} {
		if f.value < 0 {
			return api.FieldError(f.name, strconv.FormatInt(f.value, 10), "zero or more")
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	orElse := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	orElse(&c.FirstTable, 10*time.Second)
	orElse(&c.HeadTimeout, 10*time.Second)
	orElse(&c.IdleTimeout, 75*time.Second)
	orElse(&c.StallTime, time.Minute)
	orElse(&c.Grace, 3*time.Second)
	if c.Queue == 0 {
		c.Queue = 1024
	}
	if c.HeadBytes == 0 {
		c.HeadBytes = 64 << 10
	}
	if c.ClientConns == 0 {
		c.ClientConns = 16384
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Proxy is a balancer.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	meters   *meter.Meters
	faults   *meter.FaultLog
	access   *meter.AccessLog // nil: none
	certs    *certificates
	tls      *tls.Config
	doors    *doors
	conns    *connSet
	registry registry
	clients  clients
	buffers  *buffers
	works    sync.Pool // of *work
	changed  chan struct{}
	began    time.Time // the zero of its clock
	shards   atomic.Uint32
	early    atomic.Int64 // requests held before the first table

	applying sync.Mutex              // one Apply or Status at a time; guards drains, inside and spoken
	drains   map[string]*drain       // task → what it still has in flight
	inside   string                  // address of the door for virtual addresses; "" is none
	spoken   map[netip.AddrPort]bool // ports of virtual addresses that have been spoken to

	// routing orders requests and tables: held for reading while a request is placed, for writing while the table is
	// swapped. Nothing blocks under it.
	routing sync.RWMutex
	table   *table

	life context.Context // ends when what is left of connections is to be cut
	end  context.CancelFunc
	ran  atomic.Bool

	retiring atomic.Bool // another process accepts in this one's place
}

// clock is monotonic, and zero when the proxy was made.
func (p *Proxy) clock() time.Duration { return time.Since(p.began) }

// wall gives the time of day of a reading of clock.
func (p *Proxy) wall(at time.Duration) time.Time { return p.began.Add(at) }

func (p *Proxy) nextShard() int { return int(p.shards.Add(1)) }

// drain is a task that left the table.
type drain struct {
	targets []*target
	seen    bool // Status reported it with 0
}

func (d *drain) inFlight() (n int) {
	for _, t := range d.targets {
		n += int(t.member.InFlight.Load())
	}
	return n
}

// New makes a balancer with no table; it opens no socket before [Proxy.Open] or [Proxy.Run].
func New(cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Proxy{
		cfg: cfg, log: cfg.Log, meters: meter.New(), faults: meter.NewFaultLog(cfg.Log), conns: newConnSet(), buffers: newBuffers(),
		changed: make(chan struct{}, 1), drains: map[string]*drain{}, spoken: map[netip.AddrPort]bool{}, table: emptyTable(), began: time.Now(),
	}
	p.works.New = func() any { return new(work) }
	p.clients.most = cfg.ClientConns
	if cfg.HTTPS != "" {
		p.certs = &certificates{dir: cfg.Certs}
		p.tls = p.tlsConfig()
		if _, err := p.certs.load(); err != nil {
			p.log.Warn("certificates cannot all be used", "error", err)
		}
	}
	if cfg.AccessLog != "" {
		var err error
		if p.access, err = meter.NewAccessLog(cfg.AccessLog, cfg.AccessLogSample, cfg.Log); err != nil {
			return nil, err
		}
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.doors = newDoors(p)
	return p, nil
}

func (p *Proxy) sharedPorts() map[string]kind {
	all := map[string]kind{}
	if p.cfg.HTTP != "" {
		all[p.cfg.HTTP] = sharedHTTP
	}
	if p.cfg.HTTPS != "" {
		all[p.cfg.HTTPS] = sharedHTTPS
	}
	if p.inside != "" {
		all[p.inside] = virtual
	}
	return all
}

// Open binds the shared HTTP port and the ports of the table. It gives an error of kind Conflict when the shared port
// cannot be had; Run tries that one again, and a published port's failure stands in Status, so the error may be
// ignored. Without it Run does the same.
func (p *Proxy) Open() error {
	p.applying.Lock()
	defer p.applying.Unlock()
	p.doors.start(p.sharedPorts())
	if p.doors.sync(p.current().addresses()) {
		p.signal()
	}
	return errors.Join(p.doors.failure(p.cfg.HTTP), p.doors.failure(p.cfg.HTTPS))
}

// Run serves until ctx ends; then it closes the ports, gives requests in flight the configured grace, cuts what is
// left, and returns nil once every goroutine has ended. A Proxy runs once.
func (p *Proxy) Run(ctx context.Context) error {
	// A port that is taken stands in Status and is tried again; it is no reason not to serve the others.
	_ = p.Open()
	return p.RunOpened(ctx)
}

// RunOpened is Run for a balancer whose ports Open is to open later, or not at all.
func (p *Proxy) RunOpened(ctx context.Context) error {
	if p.ran.Swap(true) {
		return api.Errorf(api.Internal, "run balancer: it has run before")
	}
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	var housekeeping sync.WaitGroup
	defer housekeeping.Wait()
	done, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	housekeeping.Go(func() { p.watch(done.Done()) })
	housekeeping.Go(func() { _ = p.meters.Run(done) }) // it ends with done
	if p.certs != nil {
		housekeeping.Go(func() { p.watchCertificates(done.Done()) })
	}
	for {
		select {
		case <-retry.C:
			if p.doors.retry() {
				p.signal()
			}
		case <-ctx.Done():
			p.shutdown()
			return nil
		}
	}
}

func (p *Proxy) shutdown() {
	grace, cancel := context.WithTimeout(context.Background(), p.cfg.Grace)
	defer cancel()
	spared := context.AfterFunc(grace, func() {
		p.end()
		p.conns.closeAll()
	})
	defer spared()
	p.doors.stop(grace)
	p.conns.wait()
	p.end()
	p.applying.Lock()
	defer p.applying.Unlock()
	for t := range p.current().targets() {
		t.retire()
	}
	if p.access != nil {
		if err := p.access.Close(); err != nil {
			p.log.Warn("access log cannot be closed", "error", err)
		}
	}
}

// HTTPAddr gives the address that the shared HTTP port is bound to, nil while it is not.
func (p *Proxy) HTTPAddr() net.Addr { return p.doors.bound(p.cfg.HTTP) }

// HTTPSAddr gives the address that the shared HTTPS port is bound to, nil while it is not.
func (p *Proxy) HTTPSAddr() net.Addr { return p.doors.bound(p.cfg.HTTPS) }

// Apply puts a route table in force; see the package comment for what holds once it has returned. A table whose
// version is not higher than that of the one in force is ignored. The table must not be changed afterwards.
func (p *Proxy) Apply(t *api.RouteTable) {
	p.applying.Lock()
	defer p.applying.Unlock()
	old := p.current()
	if old.applied && t.Version <= old.version {
		return
	}
	p.enforce(t)
}

// enforce puts a table in force; p.applying is held.
func (p *Proxy) enforce(t *api.RouteTable) {
	old := p.current()
	next := compile(t, p.spoken, old, p.newTarget, p.meters, p.clock())
	p.forgetSpoken(next)

	p.routing.Lock()
	p.table = next
	p.routing.Unlock()

	// From here on no request can be placed by the old table.
	for task, d := range p.drains {
		if d.seen || next.tasks[task] && d.inFlight() == 0 {
			delete(p.drains, task)
		}
	}
	for gone := range old.targetsBut(next) {
		gone.leave()
		d := p.drains[gone.Task]
		if d == nil {
			d = &drain{}
			p.drains[gone.Task] = d
		}
		d.targets = append(d.targets, gone)
	}
	p.meters.Leave(old.leavesBut(next))
	close(old.superseded)
	p.doors.sync(next.addresses())
	p.doors.dropHanded()
	p.signal()
}

// Status gives what the balancer confirms: the version in force; in Picks the tasks that a new request may be sent
// to; in Drains each task that left the table with the requests, upgraded connections and TCP connections that it
// still has in flight; in Problem the listener addresses that could not be opened.
//
// A task whose count has reached zero stays in Drains with 0 until a call of Status has reported that and a newer
// table was applied afterwards; so a reader that stores every Status stores the zero too, however late it reads. A
// task in neither Picks nor Drains of a version has nothing in flight in that version. A task is never in both: one
// that came back, or is still the target of another pool, is in Picks. Picks must not be changed.
func (p *Proxy) Status() api.BalancerStatus {
	p.applying.Lock()
	defer p.applying.Unlock()
	t := p.current()
	s := api.BalancerStatus{
		Version: t.version,
		Picks:   t.picks(),
		Drains:  make(map[string]int, len(p.drains)),
		Problem: p.doors.problems(t.conflicts),
	}
	for task, d := range p.drains {
		if t.tasks[task] {
			continue // another of its ports is still picked
		}
		n := d.inFlight()
		s.Drains[task] = n
		d.seen = n == 0
	}
	return s
}

// Table gives the table in force, nil before the first. It must not be changed.
func (p *Proxy) Table() *api.RouteTable { return p.current().from }

// Changed delivers a value after Status has changed: a table came into force, a draining task's count reached zero, a
// port was opened or failed. Changes that come close together are merged.
func (p *Proxy) Changed() <-chan struct{} { return p.changed }

// Meters gives what requests have met. It lives as long as the proxy.
func (p *Proxy) Meters() *meter.Meters { return p.meters }

// Faults gives why requests have failed.
func (p *Proxy) Faults() *meter.FaultLog { return p.faults }

// ReopenLog opens the access log anew, if there is one: another program has moved its file away.
func (p *Proxy) ReopenLog() error {
	if p.access == nil {
		return nil
	}
	return p.access.Reopen()
}

func (p *Proxy) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *Proxy) current() *table {
	p.routing.RLock()
	defer p.routing.RUnlock()
	return p.table
}

func (p *Proxy) newTarget(t api.Target) *target { return newTarget(t, p.clock(), p.signal) }
