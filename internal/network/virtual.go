package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// This file is what the firewall does for virtual addresses. A task's packet to one is first judged like any other in
// the bridge table: the address is an element of the sets of its service's networks, as if it were a member. What
// passes is then sent on in the ip table: TCP to the balancer's door, datagrams to a ready task drawn at random,
//
//	map datagrams { ip daddr : verdict }                    # goto the service's chain
//	chain redirect {                                        # nat, prerouting
//	  iifname BRIDGE ip daddr SERVICES udp: ip daddr vmap @datagrams
//	  iifname BRIDGE ip daddr SERVICES tcp: dnat to DOOR
//	}
//	chain serviceN { dnat to numgen random mod 2 map { 0 : TASK, 1 : TASK } }
//
// and datagrams bear the gateway's address, so that the answer comes back over the node. What was sent on once is
// sent on the same way for the rest of its connection, which the kernel tracks, whatever becomes of the rules; so flows
// of datagrams are forgotten when their task goes (see flows.go). To which addresses there may be any is noted in a
// table of its own, which stays when the others are made anew:
//
//	table ip ikada-…-asked {
//	  set asked { ip daddr }
//	  chain note { iifname BRIDGE ip daddr SERVICES udp: add @asked { ip daddr } }   # nat, so a flow's first packet only
//	}

// addRedirect makes the chain that sends on, and what it needs.
func (f *firewall) addRedirect() error {
	f.datagrams = &nftables.Set{
		Table: f.ipTable, Name: "datagrams", KeyType: nftables.TypeIPAddr, ID: f.nextID(), IsMap: true, DataType: nftables.TypeVerdict,
	}
	if err := f.conn.AddSet(f.datagrams, nil); err != nil {
		return fmt.Errorf("add map of datagrams: %w", err)
	}
	redirect := f.base(f.ipTable, "redirect", nftables.ChainHookPrerouting, -100, nftables.ChainTypeNAT)
	ours := rule(iif(expr.CmpOpEq, f.bridge), within(offsetDestination, f.services))
	f.rule(redirect, ours, l4proto(unix.IPPROTO_UDP), destinationVerdict(f.datagrams))
	f.rule(redirect, ours, l4proto(unix.IPPROTO_TCP), redirectTo(doorOf(f.services)))
	f.chains = map[netip.Addr]*nftables.Chain{}
	for a, v := range f.virtual {
		if err := f.addTargets(a, v); err != nil {
			return err
		}
	}
	return nil
}

// askedTable is where datagrams to virtual addresses are noted.
func askedTable(table string) *nftables.Table {
	return &nftables.Table{Name: table + "-asked", Family: nftables.TableFamilyIPv4}
}

// addAsked makes the table that notes to which virtual addresses datagrams go, or its rule alone when it is there.
func (f *firewall) addAsked(there bool) error {
	t := askedTable(f.ipTable.Name)
	f.asked = &nftables.Set{
		Table: t, Name: "asked", KeyType: nftables.TypeIPAddr, ID: f.nextID(), Dynamic: true, Size: 1 << (32 - f.services.Bits()),
	}
	if !there { // flows may be older than it
		var all []nftables.SetElement
		for a := range f.virtual {
			all = append(all, addressElements(a)...)
		}
		f.conn.AddTable(t)
		if err := f.conn.AddSet(f.asked, all); err != nil {
			return fmt.Errorf("add set of asked addresses: %w", err)
		}
	}
	note := f.base(t, "note", nftables.ChainHookPrerouting, -101, nftables.ChainTypeNAT) // before redirect
	f.conn.FlushChain(note)
	f.rule(note, iif(expr.CmpOpEq, f.bridge), within(offsetDestination, f.services), l4proto(unix.IPPROTO_UDP), addDestination(f.asked))
	return nil
}

// askedOf gives those of some virtual addresses to which datagrams may have gone: all of them in doubt.
func (f *firewall) askedOf(addresses []netip.Addr) []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool {
		return errors.Is(findElement(f.asked, a.AsSlice()), fs.ErrNotExist)
	})
	if len(asked) == len(addresses) {
		return asked
	}
	if there, err := f.hasTable(f.asked.Table); err != nil || !there { // so no element was found
		return addresses
	}
	return asked
}

// unask forgets that datagrams went to virtual addresses, whose flows are then to be forgotten as well: a datagram of
// the same moment may not have been noted.
func (f *firewall) unask(addresses []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range addresses {
		e := addressElements(a)
		// It is added so that deleting succeeds.
		if err := errors.Join(f.conn.SetAddElements(f.asked, e), f.conn.SetDeleteElements(f.asked, e)); err != nil {
			return err
		}
	}
	if err := f.flush(); err != nil {
		return fmt.Errorf("forget asked addresses: %w", err)
	}
	return nil
}

// expose replaces what is known of virtual addresses.
func (f *firewall) expose(next map[netip.Addr]virtual) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change(func() error { return f.exposeLocked(next) })
}

func (f *firewall) exposeLocked(next map[netip.Addr]virtual) error {
	var errs []error
	before := f.virtual
	f.virtual = next
	for a, old := range before {
		if reflect.DeepEqual(old, next[a]) {
			continue
		}
		errs = append(errs, f.removeTargets(a))
		for _, network := range old.Networks {
			if m := f.networks[network]; m != nil && !slices.Contains(next[a].Networks, network) {
				errs = append(errs, f.conn.SetDeleteElements(m.set, addressElements(a)))
			}
		}
	}
	for a, v := range next {
		old := before[a]
		if reflect.DeepEqual(old, v) {
			continue
		}
		errs = append(errs, f.addTargets(a, v))
		for _, network := range v.Networks {
			if m := f.networks[network]; m != nil && !slices.Contains(old.Networks, network) {
				errs = append(errs, f.conn.SetAddElements(m.set, addressElements(a)))
			}
		}
	}
	return errors.Join(errs...)
}

// virtualIn gives the virtual addresses of the services in a network.
func (f *firewall) virtualIn(network string) []nftables.SetElement {
	var in []nftables.SetElement
	for _, a := range slices.SortedFunc(maps.Keys(f.virtual), netip.Addr.Compare) {
		if slices.Contains(f.virtual[a].Networks, network) {
			in = append(in, addressElements(a)...)
		}
	}
	return in
}

// addTargets makes the chain by which datagrams to a virtual address go to the service's tasks.
func (f *firewall) addTargets(a netip.Addr, v virtual) error {
	if len(v.Targets) == 0 {
		return nil
	}
	spread := &nftables.Set{
		Table: f.ipTable, Name: "__map%d", ID: f.nextID(), Anonymous: true, Constant: true, IsMap: true,
		KeyType: nftables.TypeInteger, DataType: nftables.TypeIPAddr,
	}
	elements := make([]nftables.SetElement, len(v.Targets))
	for i, t := range v.Targets {
		elements[i] = nftables.SetElement{Key: binary.NativeEndian.AppendUint32(nil, uint32(i)), Val: t.AsSlice()}
	}
	c := f.conn.AddChain(&nftables.Chain{Name: "service" + strconv.FormatUint(uint64(f.nextID()), 10), Table: f.ipTable})
	if err := f.conn.AddSet(spread, elements); err != nil {
		return fmt.Errorf("add targets of %s: %w", a, err)
	}
	f.rule(c, sendToOneOf(spread, len(elements)))
	f.chains[a] = c
	return f.conn.SetAddElements(f.datagrams, []nftables.SetElement{f.datagramElement(a, c)})
}

func (f *firewall) removeTargets(a netip.Addr) error {
	c := f.chains[a]
	if c == nil {
		return nil
	}
	delete(f.chains, a)
	err := f.conn.SetDeleteElements(f.datagrams, []nftables.SetElement{f.datagramElement(a, c)})
	f.conn.DelChain(c)
	return err
}

func (f *firewall) datagramElement(a netip.Addr, c *nftables.Chain) nftables.SetElement {
	return nftables.SetElement{Key: a.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: c.Name}}
}

func addressElements(a netip.Addr) []nftables.SetElement {
	return []nftables.SetElement{{Key: a.AsSlice()}}
}
