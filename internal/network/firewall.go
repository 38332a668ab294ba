package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/network/pool"
	"github.com/ikada/ikada/internal/network/roster"
)

// firewall is the instance's tables. The fixed part of two of them is
//
//	table bridge ikada-… {
//	  set bound  { iifname . ip saddr }                     # which address belongs to which port
//	  map groups { iifname . ip saddr : verdict }           # goto the sender's group
//	  chain prerouting {                                    # every frame that enters a bridge
//	    iifname != "iv-…*" accept
//	    arp: iifname . arp saddr ip @bound accept; drop
//	    not ip: drop
//	    iifname . ip saddr vmap @groups; drop
//	  }
//	  chain node   { ip daddr GATEWAY accept; drop }        # internal networks only
//	  chain beyond { ip daddr GATEWAY accept; ip daddr SUBNET, SERVICES, 224.0.0.0/3 drop; accept }
//	}
//	table ip ikada-… { redirect, forward, input, postrouting: see addIPTable, and virtual.go for the first }
//
// and for every network in use a set of its members' addresses, among them the virtual ones of its services, and for
// every combination of networks in use (a group) a chain that accepts these destinations and goes on to node or beyond.
// An endpoint that comes or goes is one transaction of a few elements. These two are only written to; what is in them is
// known from here. The third is the kernel's notebook, see virtual.go.
type firewall struct {
	bridge, portPrefix string
	subnet, services   netip.Prefix
	gateway            netip.Addr

	mu       sync.Mutex
	conn     *nftables.Conn
	socket   *netlink.Conn // under conn
	ids      uint32
	brTable  *nftables.Table
	ipTable  *nftables.Table
	bound    *nftables.Set
	byPort   *nftables.Set
	portSet  *nftables.Set
	ports    []uint16
	networks map[string]*member
	groups   map[string]*group
	present  map[string]roster.Entry // by port

	virtual   map[netip.Addr]virtual
	datagrams *nftables.Set
	chains    map[netip.Addr]*nftables.Chain // of virtual addresses with targets
	asked     *nftables.Set                  // virtual addresses that got datagrams; written by packets
}

// member is a network's set of addresses and how many groups look into it.
type member struct {
	set  *nftables.Set
	refs int
}

// group is the chain for one combination of networks, and how many endpoints go by it.
type group struct {
	chain    *nftables.Chain
	networks []string
	refs     int
}

func newFirewall(table, bridge, portPrefix string, subnet, services netip.Prefix) (*firewall, error) {
	conn, socket, err := openNFTables()
	if err != nil {
		return nil, err
	}
	return &firewall{
		bridge: bridge, portPrefix: portPrefix, subnet: subnet, services: services, gateway: pool.Gateway(subnet), conn: conn, socket: socket,
		brTable: &nftables.Table{Name: table, Family: nftables.TableFamilyBridge},
		ipTable: &nftables.Table{Name: table, Family: nftables.TableFamilyIPv4},
	}, nil
}

func openNFTables() (conn *nftables.Conn, socket *netlink.Conn, err error) {
	conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		socket = c
		return errors.Join(c.SetWriteBuffer(4<<20), c.SetReadBuffer(4<<20)) // a whole rebuild is one message
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("open nftables: %w", err)
	}
	return conn, socket, nil
}

// flushTime bounds how long the kernel may take to acknowledge a transaction.
const flushTime = 10 * time.Second

// flush commits what the connection has gathered. Acknowledgements can get lost when others change rules at the same
// time, and nobody may wait for them for ever: after a time-out the connection is made anew, since what still comes on
// the old one would be taken for answers to later transactions. f.mu is held.
func (f *firewall) flush() error {
	if f.socket == nil { // a connection that is opened for each transaction has nothing to be made anew
		return f.conn.Flush()
	}
	if err := f.socket.SetReadDeadline(time.Now().Add(flushTime)); err != nil {
		return err
	}
	err := f.conn.Flush()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.Join(err, f.socket.SetReadDeadline(time.Time{}))
	}
	_ = f.conn.CloseLasting()
	conn, socket, again := openNFTables()
	if again != nil {
		return errors.Join(err, again)
	}
	f.conn, f.socket = conn, socket
	return err
}

func (f *firewall) close() { _ = f.conn.CloseLasting() }

// rebuild replaces the tables in one transaction: no packet sees anything in between. What is noted of
// datagrams stays.
func (f *firewall) rebuild(entries map[string]roster.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rebuildLocked(entries)
}

func (f *firewall) rebuildLocked(entries map[string]roster.Entry) error {
	noted, err := f.hasTable(askedTable(f.ipTable.Name))
	if err != nil {
		return err
	}
	f.networks, f.groups, f.present = map[string]*member{}, map[string]*group{}, map[string]roster.Entry{}
	for _, t := range []*nftables.Table{f.brTable, f.ipTable} {
		f.conn.AddTable(t) // so that deleting succeeds
		f.conn.DelTable(t)
		f.conn.AddTable(t)
	}
	if err := errors.Join(f.addBridgeTable(), f.addIPTable(), f.addRedirect(), f.addAsked(noted)); err != nil {
		return err
	}
	for port, e := range entries {
		if err := f.addLocked(port, e); err != nil {
			return err
		}
	}
	if err := f.flush(); err != nil {
		return fmt.Errorf("put firewall in force: %w", err)
	}
	return nil
}

func (f *firewall) addBridgeTable() error {
	key, err := nftables.ConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)
	if err != nil {
		return fmt.Errorf("compose set type: %w", err)
	}
	f.bound = &nftables.Set{Table: f.brTable, Name: "bound", KeyType: key, Concatenation: true, ID: f.nextID()}
	f.byPort = &nftables.Set{
		Table: f.brTable, Name: "groups", KeyType: key, Concatenation: true, ID: f.nextID(),
		IsMap: true, DataType: nftables.TypeVerdict,
	}
	if err := errors.Join(f.conn.AddSet(f.bound, nil), f.conn.AddSet(f.byPort, nil)); err != nil {
		return fmt.Errorf("add sets of bridge table: %w", err)
	}
	// Before bridge-nf (priority 0) hands bridged packets to the ip hooks, where others may rewrite them.
	entry := f.base(f.brTable, "prerouting", nftables.ChainHookPrerouting, -300, nftables.ChainTypeFilter)
	f.rule(entry, iifPrefix(expr.CmpOpNeq, f.portPrefix), accept())
	f.rule(entry, etherType(expr.CmpOpEq, unix.ETH_P_ARP), portAndAddress(offsetARPSender), in(f.bound), accept())
	f.rule(entry, etherType(expr.CmpOpNeq, unix.ETH_P_IP), drop())
	f.rule(entry, portAndAddress(offsetSource), verdictOf(f.byPort))
	f.rule(entry, drop())

	node := f.conn.AddChain(&nftables.Chain{Name: "node", Table: f.brTable})
	f.rule(node, destination(f.gateway), accept())
	f.rule(node, drop())

	beyond := f.conn.AddChain(&nftables.Chain{Name: "beyond", Table: f.brTable})
	f.rule(beyond, destination(f.gateway), accept())
	f.rule(beyond, within(offsetDestination, f.subnet), drop())
	f.rule(beyond, within(offsetDestination, f.services), drop())
	f.rule(beyond, within(offsetDestination, netip.MustParsePrefix("224.0.0.0/3")), drop()) // would reach every port
	f.rule(beyond, accept())
	return nil
}

// addIPTable makes what governs packets to and through the node. An accept here ends only this table's own chain:
// other tables on the same hook still see the packet, and a drop of theirs is final (see openForeign).
func (f *firewall) addIPTable() error {
	f.portSet = &nftables.Set{Table: f.ipTable, Name: "ports", KeyType: nftables.TypeInetService, ID: f.nextID()}
	if err := f.conn.AddSet(f.portSet, portElements(f.ports)); err != nil {
		return fmt.Errorf("add set of ports: %w", err)
	}
	eq, neq := expr.CmpOpEq, expr.CmpOpNeq

	forward := f.base(f.ipTable, "forward", nftables.ChainHookForward, 0, nftables.ChainTypeFilter)
	// Bridged packets come by here where bridge-nf-call-iptables is on; the bridge table has judged them.
	f.rule(forward, iif(eq, f.bridge), within(offsetSource, f.subnet), accept())
	f.rule(forward, oif(eq, f.bridge), established(), accept())
	f.rule(forward, iif(eq, f.bridge), drop())
	f.rule(forward, oif(eq, f.bridge), drop())

	input := f.base(f.ipTable, "input", nftables.ChainHookInput, 0, nftables.ChainTypeFilter)
	f.rule(input, iif(neq, f.bridge), iif(neq, "lo"), destination(f.gateway), drop())
	f.rule(input, iif(neq, f.bridge), iif(neq, "lo"), within(offsetDestination, f.services), drop())
	f.rule(input, iif(neq, f.bridge), accept())
	f.rule(input, established(), accept())
	door := doorOf(f.services)
	f.rule(input, destination(door.Addr()), l4proto(unix.IPPROTO_TCP), destinationPort(door.Port()), accept())
	f.rule(input, within(offsetDestination, f.services), l4proto(unix.IPPROTO_ICMP), accept())
	f.rule(input, within(offsetDestination, f.services), refuse())
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		f.rule(input, destination(f.gateway), l4proto(proto), destinationPort(53), accept())
		f.rule(input, l4proto(proto), destinationPortIn(f.portSet), accept())
	}
	f.rule(input, l4proto(unix.IPPROTO_ICMP), accept())
	f.rule(input, refuse())

	nat := f.base(f.ipTable, "postrouting", nftables.ChainHookPostrouting, 100, nftables.ChainTypeNAT)
	f.rule(nat, within(offsetSource, f.subnet), oif(neq, f.bridge), oif(neq, "lo"), []expr.Any{&expr.Masq{}})
	f.rule(nat, within(offsetSource, f.subnet), oif(eq, f.bridge), l4proto(unix.IPPROTO_UDP), redirected(), []expr.Any{&expr.Masq{}})
	return nil
}

func (f *firewall) base(t *nftables.Table, name string, hook *nftables.ChainHook, prio int, typ nftables.ChainType) *nftables.Chain {
	policy := nftables.ChainPolicyAccept
	return f.conn.AddChain(&nftables.Chain{
		Name: name, Table: t, Type: typ, Hooknum: hook, Policy: &policy,
		Priority: new(nftables.ChainPriority(prio)),
	})
}

func (f *firewall) rule(c *nftables.Chain, words ...[]expr.Any) {
	f.conn.AddRule(&nftables.Rule{Table: c.Table, Chain: c, Exprs: rule(words...)})
}

// nextID numbers sets within a transaction; the library's own counter is shared by all connections, unguarded.
func (f *firewall) nextID() uint32 {
	f.ids++
	return f.ids
}

// add lets an endpoint in by its port. It gives nothing to an endpoint that is in already.
func (f *firewall) add(port string, e roster.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change(func() error { return f.addLocked(port, e) })
}

// remove is add taken back; a port that is not in is no error.
func (f *firewall) remove(port string, e roster.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change(func() error { return f.removeLocked(port, e) })
}

// change commits what do asks for. After a failure neither the kernel nor what is known here can be trusted to agree
// with one another, so the tables are made anew for the endpoints that were present before.
func (f *firewall) change(do func() error) error {
	before := make(map[string]roster.Entry, len(f.present))
	maps.Copy(before, f.present)
	err := do()
	if flushed := f.flush(); err == nil {
		err = flushed
	}
	if err == nil {
		return nil
	}
	if f.rebuildLocked(before) != nil {
		return fmt.Errorf("change firewall: %w", err)
	}
	if again := do(); again != nil {
		return fmt.Errorf("change firewall: %w", again)
	}
	if err := f.flush(); err != nil {
		return errors.Join(fmt.Errorf("change firewall: %w", err), f.rebuildLocked(before))
	}
	return nil
}

func (f *firewall) addLocked(port string, e roster.Entry) error {
	if _, ok := f.present[port]; ok {
		return nil
	}
	networks := networksOf(e)
	g, err := f.group(groupKey(e), networks, e.Internal)
	if err != nil {
		return err
	}
	g.refs++
	f.present[port] = e
	k := portKey(port, e.Address)
	errs := []error{
		f.conn.SetAddElements(f.bound, []nftables.SetElement{{Key: k}}),
		f.conn.SetAddElements(f.byPort, []nftables.SetElement{{
			Key: k, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: g.chain.Name},
		}}),
	}
	for _, n := range networks {
		errs = append(errs, f.conn.SetAddElements(f.networks[n].set, []nftables.SetElement{{Key: e.Address.AsSlice()}}))
	}
	return errors.Join(errs...)
}

func (f *firewall) removeLocked(port string, e roster.Entry) error {
	if _, ok := f.present[port]; !ok {
		return nil
	}
	delete(f.present, port)
	k := portKey(port, e.Address)
	key := groupKey(e)
	g := f.groups[key]
	errs := []error{
		f.conn.SetDeleteElements(f.byPort, []nftables.SetElement{{
			Key: k, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: g.chain.Name},
		}}),
		f.conn.SetDeleteElements(f.bound, []nftables.SetElement{{Key: k}}),
	}
	for _, n := range g.networks {
		errs = append(errs, f.conn.SetDeleteElements(f.networks[n].set, []nftables.SetElement{{Key: e.Address.AsSlice()}}))
	}
	if g.refs--; g.refs == 0 {
		delete(f.groups, key)
		f.conn.DelChain(g.chain)
		for _, n := range g.networks {
			if m := f.networks[n]; m.refs == 1 {
				delete(f.networks, n)
				f.conn.DelSet(m.set)
			} else {
				m.refs--
			}
		}
	}
	return errors.Join(errs...)
}

// group gives the chain for a combination of networks, made if it is new.
func (f *firewall) group(key string, networks []string, internal bool) (*group, error) {
	if g := f.groups[key]; g != nil {
		return g, nil
	}
	g := &group{networks: networks}
	g.chain = f.conn.AddChain(&nftables.Chain{Name: "group" + strconv.FormatUint(uint64(f.nextID()), 10), Table: f.brTable})
	for _, n := range networks {
		m := f.networks[n]
		if m == nil {
			id := f.nextID()
			m = &member{set: &nftables.Set{
				Table: f.brTable, Name: "network" + strconv.FormatUint(uint64(id), 10), ID: id,
				KeyType: nftables.TypeIPAddr, Comment: comment(n),
			}}
			if err := f.conn.AddSet(m.set, f.virtualIn(n)); err != nil {
				return nil, fmt.Errorf("add set of network %s: %w", n, err)
			}
			f.networks[n] = m
		}
		m.refs++
		f.rule(g.chain, destinationIn(m.set), accept())
	}
	f.rule(g.chain, goTo(map[bool]string{false: "beyond", true: "node"}[internal]))
	f.groups[key] = g
	return g, nil
}

// setPorts replaces the node's ports that tasks may reach.
func (f *firewall) setPorts(ports []uint16) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports = slices.Clone(ports)
	return f.change(func() error {
		f.conn.FlushSet(f.portSet)
		return f.conn.SetAddElements(f.portSet, portElements(f.ports))
	})
}

// restore makes the tables again if one of them is gone, and tells whether it had to.
func (f *firewall) restore() (restored bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range []*nftables.Table{f.brTable, f.ipTable, f.asked.Table} {
		there, err := f.hasTable(t)
		if err != nil {
			return false, err
		}
		if !there {
			return true, f.rebuildLocked(f.present)
		}
	}
	return false, nil
}

func (f *firewall) hasTable(t *nftables.Table) (bool, error) {
	tables, err := f.conn.ListTablesOfFamily(t.Family)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(have *nftables.Table) bool { return have.Name == t.Name }), nil
}

// deleteTables removes an instance's tables, and its rules in foreign ones.
func deleteTables(table, bridge string) error {
	conn, _, err := openNFTables()
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseLasting() }()
	for _, t := range []*nftables.Table{
		{Name: table, Family: nftables.TableFamilyBridge}, {Name: table, Family: nftables.TableFamilyIPv4}, askedTable(table),
	} {
		conn.AddTable(t) // so that deleting succeeds
		conn.DelTable(t)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("delete tables: %w", err)
	}
	return closeForeign(conn, bridge)
}

func portKey(port string, a netip.Addr) []byte { return append(ifname(port), a.AsSlice()...) }

func portElements(ports []uint16) []nftables.SetElement {
	sorted := slices.Compact(slices.Sorted(slices.Values(ports)))
	els := make([]nftables.SetElement, 0, len(sorted))
	for _, p := range sorted {
		els = append(els, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, p)})
	}
	return els
}

// networksOf gives an endpoint's networks, each once, sorted.
func networksOf(e roster.Entry) []string {
	var all []string
	for _, m := range e.Networks {
		all = append(all, m.Network)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func groupKey(e roster.Entry) string {
	return strconv.FormatBool(e.Internal) + "\x00" + strings.Join(networksOf(e), "\x00")
}

// comment cuts a text to what the kernel keeps at a set (256 bytes, of which the library and the end need some).
func comment(s string) string { return s[:min(len(s), 120)] }
