package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// flows are those of datagrams to a virtual address that the kernel tracks.
type flows struct {
	service netip.Addr
	to      netip.Addr // who answers them; zero: whoever
}

// forgetFlows ends what the kernel remembers of datagrams to virtual addresses that went to a task which is no target
// any more: the next datagram of the same client goes to a task that is. Where no datagrams went nothing is looked for,
// since the kernel would go through all connections of the node.
func (n *Network) forgetFlows(before, after map[netip.Addr]virtual) error {
	gone := outdated(before, after)
	if len(gone) == 0 {
		return nil
	}
	var ended []netip.Addr
	var stale []flows
	for _, a := range n.firewall.askedOf(slices.SortedFunc(maps.Keys(gone), netip.Addr.Compare)) {
		stale = append(stale, gone[a]...)
		if _, ok := after[a]; !ok {
			ended = append(ended, a)
		}
	}
	var err error
	if len(ended) > 0 {
		err = n.firewall.unask(ended)
	}
	return errors.Join(err, n.deleteFlows(stale))
}

// outdated gives by virtual address which flows must not go on. There is an entry for each service that ended. Of
// datagrams while a service has no tasks, which the node refuses, nothing is tracked.
func outdated(before, after map[netip.Addr]virtual) map[netip.Addr][]flows {
	all := map[netip.Addr][]flows{}
	for a, old := range before {
		now, ok := after[a]
		if !ok {
			all[a] = []flows{{service: a}}
			continue
		}
		for _, t := range old.Targets {
			if !slices.Contains(now.Targets, t) {
				all[a] = append(all[a], flows{service: a, to: t})
			}
		}
	}
	return all
}

// deleteFlows has the kernel forget flows.
func (n *Network) deleteFlows(all []flows) error {
	for i, f := range all {
		err := f.delete()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) { // Linux before 6.11
			return n.deleteListed(all[i:])
		}
		if err != nil {
			return fmt.Errorf("delete tracked flows to %s: %w", f.service, err)
		}
	}
	return nil
}

// What linux/netfilter/nfnetlink_conntrack.h has and the libraries lack, and the bits of net/netfilter/nf_internals.h
// that say which parts of a tuple count.
const (
	ctaFilter           = 25
	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2

	ctaFilterSource      = 1 << 0
	ctaFilterDestination = 1 << 1
	ctaFilterProtocol    = 1 << 3
)

// delete has the kernel choose. A kernel that does not know the filter finds the tuple wanting and says EINVAL.
func (f flows) delete() error {
	original := nl.NewRtAttr(nl.CTA_TUPLE_ORIG|unix.NLA_F_NESTED, nil)
	original.AddRtAttr(nl.CTA_TUPLE_IP|unix.NLA_F_NESTED, nil).AddRtAttr(nl.CTA_IP_V4_DST, f.service.AsSlice())
	original.AddRtAttr(nl.CTA_TUPLE_PROTO|unix.NLA_F_NESTED, nil).AddRtAttr(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_UDP})
	filter := nl.NewRtAttr(ctaFilter|unix.NLA_F_NESTED, nil)
	filter.AddRtAttr(ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, ctaFilterDestination|ctaFilterProtocol))
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	req.AddData(original)
	if f.to.IsValid() {
		reply := nl.NewRtAttr(nl.CTA_TUPLE_REPLY|unix.NLA_F_NESTED, nil)
		reply.AddRtAttr(nl.CTA_TUPLE_IP|unix.NLA_F_NESTED, nil).AddRtAttr(nl.CTA_IP_V4_SRC, f.to.AsSlice())
		filter.AddRtAttr(ctaFilterReplyFlags, binary.NativeEndian.AppendUint32(nil, ctaFilterSource))
		req.AddData(reply)
	}
	req.AddData(filter)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// deleteListed has the kernel list every flow that it tracks, which takes ten times as long, and deletes them one by one.
func (n *Network) deleteListed(all []flows) error {
	filters := make([]netlink.CustomConntrackFilter, len(all))
	for i, f := range all {
		c := &netlink.ConntrackFilter{}
		err := errors.Join(c.AddProtocol(unix.IPPROTO_UDP), c.AddIP(netlink.ConntrackOrigDstIP, f.service.AsSlice()))
		if f.to.IsValid() {
			err = errors.Join(err, c.AddIP(netlink.ConntrackReplySrcIP, f.to.AsSlice()))
		}
		if err != nil {
			return err
		}
		filters[i] = c
	}
	if _, err := n.link.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filters...); err != nil {
		return fmt.Errorf("delete tracked flows: %w", err)
	}
	return nil
}

// findElement gives an error of kind fs.ErrNotExist when the kernel has no such element, set or table. To list a set
// that packets add to meanwhile could miss some.
func findElement(s *nftables.Set, key []byte) error {
	elements := nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, nil)
	elements.AddRtAttr(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, nil).
		AddRtAttr(unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, nil).
		AddRtAttr(unix.NFTA_DATA_VALUE, key)
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM, 0)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(s.Table.Family), Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_TABLE, nl.ZeroTerminated(s.Table.Name)))
	req.AddData(nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_SET, nl.ZeroTerminated(s.Name)))
	req.AddData(elements)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}
