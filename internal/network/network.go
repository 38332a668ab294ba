package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/pool"
	"github.com/ikada/ikada/internal/network/roster"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// Config says whose network it is and where its state lies.
type Config struct {
	Instance   string        // tells instances on one machine apart; stays the same for a data directory
	StateDir   string        // absolute; holds netns/, netfiles/ and network.json
	Subnet     netip.Prefix  // zero: the one chosen at the first start, else the first free /20 from 10.210.0.0 up
	Ports      []uint16      // that tasks may reach on the node besides DNS; see SetPorts
	Resolvers  string        // resolv.conf whose search domains tasks get; "" is /etc/resolv.conf
	CheckEvery time.Duration // how often the firewall is looked at for what others did to it; 0 is 15 s

	// Announce tells the name service who is on the bridge, at every change; nil: names are answered by nobody. It
	// must not call the network.
	Announce func(inside.Bridge)
	Log      *slog.Logger // nil: nothing is logged
}

// Validate gives an Invalid error for a configuration that New refuses.
func (c Config) Validate() error {
	if c.Instance == "" {
		return api.FieldError("instance", "", "a name that tells instances on this machine apart")
	}
	if !filepath.IsAbs(c.StateDir) {
		return api.FieldError("stateDir", c.StateDir, "an absolute path")
	}
	if c.Subnet.IsValid() {
		_, err := pool.New(c.Subnet)
		return err
	}
	return nil
}

// Network implements agent.Network on Linux bridges, namespaces and nftables.
type Network struct {
	cfg    Config
	hash   string // six hex digits of the instance
	log    *slog.Logger
	roster roster.Roster
	locks  keyed

	mu       sync.Mutex
	started  bool
	problems []string
	link     *netlink.Handle // in the node's namespace
	bridge   *netlink.Bridge
	mtu      int
	subnet   netip.Prefix
	gateway  netip.Addr
	pool     *pool.Pool
	firewall *firewall
	services netip.Prefix           // of virtual addresses
	exposed  map[netip.Addr]virtual // in force; under exposing
	settled  map[netip.Addr]virtual // of which all that follows is done; under exposing
	changed  chan struct{}          // has room for one: exposed is another
	stop     context.CancelFunc
	done     sync.WaitGroup

	exposing   sync.Mutex             // one Expose at a time
	wanted     map[netip.Addr]virtual // what the last asked for, nil before the first; under exposing
	announcing sync.Mutex             // one announcement at a time
}

var _ agent.Network = (*Network)(nil)

// New makes a network that does nothing until Start. Errors are of kind Invalid.
func New(cfg Config) (*Network, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Resolvers == "" {
		cfg.Resolvers = "/etc/resolv.conf"
	}
	if cfg.CheckEvery == 0 {
		cfg.CheckEvery = 15 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	sum := sha256.Sum256([]byte(cfg.Instance))
	return &Network{cfg: cfg, hash: hex.EncodeToString(sum[:3]), log: cfg.Log, changed: make(chan struct{}, 1)}, nil
}

// BridgeName gives the name of the instance's bridge.
func (n *Network) BridgeName() string { return "ik-" + n.hash }

// portPrefix is what the node's ends of all veth pairs begin with; the rest tells the address.
func (n *Network) portPrefix() string { return "iv-" + n.hash + "-" }

func (n *Network) tableName() string { return "ikada-" + n.hash }

// Start makes the bridge, takes over the endpoints of an earlier process, removes the remnants of ones that it did
// not finish, puts the firewall in force and announces everyone. It needs root.
func (n *Network) Start(ctx context.Context) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started {
		return api.Errorf(api.Conflict, "start network %s: it is started", n.BridgeName())
	}
	for _, d := range []string{n.netnsDir(), n.filesDir()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
	}
	if n.link, err = netlink.NewHandle(); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer func() {
		if err != nil {
			n.link.Close()
			if n.firewall != nil {
				n.firewall.close()
			}
		}
	}()
	if err := n.raiseBridge(); err != nil {
		return err
	}
	if n.pool, err = pool.New(n.subnet); err != nil {
		return err
	}
	if err := n.takeOver(); err != nil {
		return err
	}
	if n.firewall, err = newFirewall(n.tableName(), n.BridgeName(), n.portPrefix(), n.subnet, n.services); err != nil {
		return err
	}
	n.firewall.ports = n.cfg.Ports
	if n.exposed, err = n.readExposed(); err != nil {
		return err
	}
	n.settled = n.exposed
	n.firewall.virtual = n.exposed
	if err := n.rebuildFirewall(); err != nil {
		return err
	}
	n.announce()
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	n.problems = n.firewall.openForeign()
	n.done.Go(func() { n.watchFirewall(watch) })
	n.done.Go(func() { n.watchExposed(watch) })
	n.started = true
	return nil
}

// Close lets go of what the process holds. Namespaces, bridge and rules stay in force.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.started {
		return nil
	}
	n.started = false
	n.stop()
	n.done.Wait()
	n.firewall.close()
	n.link.Close()
	return nil
}

// Gateway gives the node's own address on the bridge, zero before Start.
func (n *Network) Gateway() netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gateway
}

// Subnet gives the subnet in use, zero before Start.
func (n *Network) Subnet() netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.subnet
}

// Services gives the range of the virtual addresses, zero before Start.
func (n *Network) Services() netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.services
}

// Problems gives what of the node's own set-up hinders the network, a sentence each, with the remedy.
func (n *Network) Problems() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.problems...)
}

// SetPorts says which TCP and UDP ports of the node tasks may reach: the balancer's, and no other. It replaces what
// was said before.
func (n *Network) SetPorts(ports []uint16) error {
	n.mu.Lock()
	n.cfg.Ports = append([]uint16(nil), ports...)
	started, fw := n.started, n.firewall
	n.mu.Unlock()
	if !started {
		return nil
	}
	return fw.setPorts(ports)
}

// Attach implements agent.Network.
func (n *Network) Attach(ctx context.Context, e agent.Endpoint) (agent.Attachment, error) {
	if err := n.ready(); err != nil {
		return agent.Attachment{}, err
	}
	if err := validate(e); err != nil {
		return agent.Attachment{}, err
	}
	defer n.locks.lock(e.ID)()
	if have, ok := n.roster.Get(e.ID); ok {
		if pinned(n.netnsPath(e.ID)) {
			return n.attachment(have), nil
		}
		if err := n.remove(e.ID); err != nil { // someone unmounted it
			return agent.Attachment{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return agent.Attachment{}, fmt.Errorf("attach %s: %w", e.ID, err)
	}
	addr, err := n.pool.Take()
	if err != nil {
		return agent.Attachment{}, err
	}
	entry := roster.Entry{Endpoint: e, Address: addr}
	if err := n.build(entry); err != nil {
		err = fmt.Errorf("attach %s: %w", e.ID, err)
		return agent.Attachment{}, errors.Join(err, n.destroy(entry))
	}
	n.roster.Put(entry)
	n.announce()
	return n.attachment(entry), nil
}

// AttachBuild gives a build step a namespace with egress and DNS, from which no task is reached. Detach and
// Reconcile treat it like any other.
func (n *Network) AttachBuild(ctx context.Context, id string) (agent.Attachment, error) {
	return n.Attach(ctx, agent.Endpoint{ID: id, Hostname: "build"})
}

// build makes all of an endpoint, its record last. It allows an endpoint through the firewall before its interface
// can send, and what it leaves behind on error destroy removes.
func (n *Network) build(e roster.Entry) error {
	if err := n.writeFiles(e); err != nil {
		return err
	}
	if err := n.firewall.add(n.portName(e.Address), e); err != nil {
		return fmt.Errorf("add to firewall: %w", err)
	}
	if err := n.makeNamespace(e); err != nil {
		return err
	}
	return n.writeRecord(e)
}

// Detach implements agent.Network.
func (n *Network) Detach(_ context.Context, id string) error {
	if err := n.ready(); err != nil {
		return err
	}
	if checkID(id) != nil {
		return nil // nothing can be attached by such a name
	}
	defer n.locks.lock(id)()
	return n.remove(id)
}

// remove takes an endpoint away; its lock is held.
func (n *Network) remove(id string) error {
	e, ok := n.roster.Get(id)
	if !ok {
		return nil
	}
	n.roster.Remove(id)
	n.announce()
	if err := n.destroy(e); err != nil {
		n.roster.Put(e) // a later Detach tries again
		return fmt.Errorf("detach %s: %w", id, err)
	}
	return nil
}

// destroy removes whatever there is of an endpoint, the record first and the address last.
func (n *Network) destroy(e roster.Entry) error {
	err := errors.Join(
		n.removeRecord(e.ID),
		n.removePort(n.portName(e.Address)),
		n.firewall.remove(n.portName(e.Address), e),
		removeNamespace(n.netnsPath(e.ID)),
		os.RemoveAll(filepath.Join(n.filesDir(), e.ID)),
	)
	if err == nil {
		n.pool.Give(e.Address)
	}
	return err
}

// Publish implements agent.Network.
func (n *Network) Publish(id string, ready bool) {
	if n.ready() != nil || checkID(id) != nil {
		return
	}
	defer n.locks.lock(id)()
	e, changed := n.roster.SetReady(id, ready)
	if !changed {
		return
	}
	if err := n.writeRecord(e); err != nil {
		n.log.Error("readiness of endpoint not kept", "task", id, "error", err)
	}
	n.announce()
}

// Reconcile implements agent.Network.
func (n *Network) Reconcile(ctx context.Context, keep []string) error {
	if err := n.ready(); err != nil {
		return err
	}
	kept := make(map[string]bool, len(keep))
	for _, id := range keep {
		kept[id] = true
	}
	var errs []error
	for _, id := range n.roster.IDs() {
		if !kept[id] {
			errs = append(errs, n.Detach(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// Endpoints gives the IDs of all endpoints, sorted.
func (n *Network) Endpoints() []string { return n.roster.IDs() }

func (n *Network) ready() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.started {
		return api.Errorf(api.Unavailable, "network %s is not started", n.BridgeName())
	}
	return nil
}

// rebuildFirewall puts the rules for all endpoints in force at once.
func (n *Network) rebuildFirewall() error {
	entries := map[string]roster.Entry{}
	for _, id := range n.roster.IDs() {
		if e, ok := n.roster.Get(id); ok {
			entries[n.portName(e.Address)] = e
		}
	}
	return n.firewall.rebuild(entries)
}

// watchFirewall puts back what an administrator's reload of the firewall took away, and keeps Problems up to date.
func (n *Network) watchFirewall(ctx context.Context) {
	tick := time.NewTicker(n.cfg.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if restored, err := n.firewall.restore(); err != nil {
			n.log.Error("firewall not restored", "error", err)
		} else if restored {
			n.log.Warn("firewall restored after its tables had been removed")
		}
		if err := n.retryExpose(); err != nil {
			n.log.Error("services not exposed", "error", err)
		}
		problems := n.firewall.openForeign()
		if n.mu.TryLock() { // Close holds it while it waits for this goroutine
			n.problems = problems
			n.mu.Unlock()
		}
	}
}

// keyed is a lock for each key.
type keyed struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	sync.Mutex
	users int
}

// lock waits for the key and gives the function that lets it go.
func (k *keyed) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*keyLock{}
	}
	l := k.held[key]
	if l == nil {
		l = &keyLock{}
		k.held[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.held, key)
		}
	}
}
