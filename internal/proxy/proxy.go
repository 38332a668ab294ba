package proxy

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
)

// Config is what a balancer needs to know. The zero value listens on published ports only, with the defaults below.
type Config struct {
	HTTP string       // address of the shared HTTP port, such as ":80"; "" is none
	Log  *slog.Logger // nil: nothing is logged

	Queue       int           // requests that one pool holds while it has no target; 0: 1024
	FirstTable  time.Duration // how long a request waits for the first route table of all; 0: 10 s
	HeadTimeout time.Duration // for a client to send a request's head; 0: 10 s
	IdleTimeout time.Duration // for a client's next request on a kept connection; 0: 75 s
	HeadBytes   int           // largest request head; 0: 64 KiB
	Grace       time.Duration // for requests in flight when Run is cancelled, then they are cut; 0: 3 s
}

// Validate tells which field cannot be meant.
func (c Config) Validate() error {
	if c.HTTP != "" {
		if _, _, err := net.SplitHostPort(c.HTTP); err != nil {
			return api.FieldError("HTTP", c.HTTP, "an address such as :80 or 127.0.0.1:8080")
		}
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Queue", int64(c.Queue)}, {"FirstTable", int64(c.FirstTable)}, {"HeadTimeout", int64(c.HeadTimeout)},
		{"IdleTimeout", int64(c.IdleTimeout)}, {"HeadBytes", int64(c.HeadBytes)}, {"Grace", int64(c.Grace)},
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
	orElse(&c.Grace, 3*time.Second)
	if c.Queue == 0 {
		c.Queue = 1024
	}
	if c.HeadBytes == 0 {
		c.HeadBytes = 64 << 10
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Proxy is a balancer.
type Proxy struct {
	cfg     Config
	meters  *meters
	faults  *faultLog
	doors   *doors
	conns   *connSet
	changed chan struct{}
	buffers sync.Pool // of *[copyBytes]byte; a request holds one while it copies its answer's body

	applying sync.Mutex        // one Apply or Status at a time; guards drains
	drains   map[string]*drain // task → what it still has in flight

	// routing orders requests and tables: held for reading while a request is placed, for writing while the table is
	// swapped. Nothing blocks under it.
	routing sync.RWMutex
	table   *table

	life context.Context // ends when what is left of connections is to be cut
	end  context.CancelFunc
	ran  atomic.Bool

	retiring atomic.Bool // another process accepts in this one's place
}

// drain is a task that left the table.
type drain struct {
	targets []*target
	seen    bool // Status reported it with 0
}

func (d *drain) inFlight() (n int) {
	for _, t := range d.targets {
		n += int(t.inFlight.Load())
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
		cfg: cfg, meters: newMeters(), faults: &faultLog{log: cfg.Log}, conns: newConnSet(),
		changed: make(chan struct{}, 1), drains: map[string]*drain{}, table: emptyTable(),
	}
	p.buffers.New = func() any { return new([copyBytes]byte) }
	p.life, p.end = context.WithCancel(context.Background())
	p.doors = newDoors(p)
	return p, nil
}

// Open binds the shared HTTP port and the ports of the table. It gives an error of kind Conflict when the shared port
// cannot be had; Run tries that one again, and a published port's failure stands in Status, so the error may be
// ignored. Without it Run does the same.
func (p *Proxy) Open() error {
	p.applying.Lock()
	defer p.applying.Unlock()
	p.doors.start(p.cfg.HTTP)
	if p.doors.sync(p.current().addresses()) {
		p.signal()
	}
	return p.doors.failure(p.cfg.HTTP)
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
	for _, t := range p.current().targets {
		t.closeIdle()
	}
}

// HTTPAddr gives the address that the shared HTTP port is bound to, nil while it is not.
func (p *Proxy) HTTPAddr() net.Addr { return p.doors.bound(p.cfg.HTTP) }

// Apply puts a route table in force; see the package comment for what holds once it has returned. A table whose
// version is not higher than that of the one in force is ignored. The table must not be changed afterwards.
func (p *Proxy) Apply(t *api.RouteTable) {
	p.applying.Lock()
	defer p.applying.Unlock()
	old := p.current()
	if old.applied && t.Version <= old.version {
		return
	}
	next := compile(t, old, p.newTarget, p.meters)

	p.routing.Lock()
	p.table = next
	p.routing.Unlock()

	// From here on no request can be placed by the old table.
	for task, d := range p.drains {
		if d.seen || next.tasks[task] && d.inFlight() == 0 {
			delete(p.drains, task)
		}
	}
	for id, gone := range old.targets {
		if next.targets[id] == gone {
			continue
		}
		gone.leave()
		d := p.drains[gone.Task]
		if d == nil {
			d = &drain{}
			p.drains[gone.Task] = d
		}
		d.targets = append(d.targets, gone)
	}
	p.meters.forget(next.live)
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
// that came back, or is still the target of another pool, is in Picks.
func (p *Proxy) Status() api.BalancerStatus {
	p.applying.Lock()
	defer p.applying.Unlock()
	t := p.current()
	s := api.BalancerStatus{
		Version: t.version,
		Picks:   slices.Sorted(maps.Keys(t.tasks)),
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

// Changed delivers a value after Status has changed: a table came into force, a draining task's count reached zero, a
// port was opened or failed. Changes that come close together are merged.
func (p *Proxy) Changed() <-chan struct{} { return p.changed }

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

func (p *Proxy) newTarget(t api.Target) *target { return newTarget(t, p.signal) }
