package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/network/pool"
)

const (
	forwardingPath = "/proc/sys/net/ipv4/ip_forward"
	fallbackMTU    = 1500 // where no uplink tells another: Ethernet's
)

// settings is what network.json keeps: the choices of the first start.
type settings struct {
	Version    int          `json:"version"`
	Subnet     netip.Prefix `json:"subnet"`
	Services   netip.Prefix `json:"services"`   // range of the virtual addresses
	Forwarding bool         `json:"forwarding"` // we turned the node's ip_forward on
}

func (n *Network) settingsPath() string { return filepath.Join(n.cfg.StateDir, "network.json") }

func (n *Network) readSettings() (settings, error) {
	var s settings
	b, err := os.ReadFile(n.settingsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read network settings: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		// A crash of the machine may have left nothing of them. What is gone with it can be chosen anew.
		n.log.Warn("network settings cannot be read and are chosen anew", "file", n.settingsPath(), "error", err)
		return settings{Subnet: n.standingSubnet()}, nil
	}
	return s, nil
}

// standingSubnet gives the subnet of the bridge, where it stands: tasks may live there. Else it gives zero.
func (n *Network) standingSubnet() netip.Prefix {
	l, err := n.link.LinkByName(n.BridgeName())
	if err != nil {
		return netip.Prefix{}
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return n.link.AddrList(l, netlink.FAMILY_V4) })
	if err != nil || len(addrs) == 0 {
		return netip.Prefix{}
	}
	p, _ := prefixOf(addrs[0].IPNet)
	return p
}

func (n *Network) writeSettings(s settings) error {
	s.Version = recordVersion
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode network settings: %w", err)
	}
	return replaceFile(n.settingsPath(), b)
}

// raiseBridge settles the ranges of addresses and brings the bridge up with the gateway address on it. Instances that start at
// the same moment take turns, so that each sees the subnets of the others.
func (n *Network) raiseBridge() error {
	unlock, err := lockNode()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := n.readSettings()
	if err != nil {
		return err
	}
	if err := n.settleSubnet(&s); err != nil {
		return err
	}
	if err := n.settleServices(&s); err != nil {
		return err
	}
	if err := enableForwarding(&s); err != nil {
		return err
	}
	if err := n.writeSettings(s); err != nil {
		return err
	}
	n.subnet, n.gateway, n.services = s.Subnet, pool.Gateway(s.Subnet), s.Services
	n.mtu = n.uplinkMTU()
	if err := n.ensureBridge(); err != nil {
		return err
	}
	return n.ensureServices()
}

// settleSubnet keeps the subnet of an earlier start, or takes the configured one, or chooses.
func (n *Network) settleSubnet(s *settings) error {
	switch want := n.cfg.Subnet; {
	case want.IsValid() && s.Subnet.IsValid() && want.Masked() != s.Subnet:
		if ids, err := n.recorded(); err != nil || len(ids) > 0 {
			return api.Errorf(api.Conflict, "subnet %s is configured, but %d tasks live in %s (%v): stop them first",
				want.Masked(), len(ids), s.Subnet, err)
		}
		s.Subnet = want.Masked()
	case want.IsValid():
		s.Subnet = want.Masked()
	case s.Subnet.IsValid():
	default:
		used, err := n.usedPrefixes()
		if err != nil {
			return err
		}
		if s.Subnet, err = chooseSubnet(used); err != nil {
			return err
		}
	}
	return nil
}

// settleServices keeps the range of virtual addresses of an earlier start, or chooses one beside the subnet.
func (n *Network) settleServices(s *settings) error {
	if s.Services.IsValid() && !s.Services.Overlaps(s.Subnet) {
		return nil
	}
	used, err := n.usedPrefixes()
	if err != nil {
		return err
	}
	s.Services, err = chooseSubnet(append(used, s.Subnet))
	return err
}

// chooseSubnet gives the first /20 from 10.210.0.0 to 10.255.240.0 that overlaps nothing in use.
func chooseSubnet(used []netip.Prefix) (netip.Prefix, error) {
	for second := 210; second <= 255; second++ {
		for third := 0; third < 256; third += 16 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), byte(third), 0}), 20)
			if !slices.ContainsFunc(used, p.Overlaps) {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, api.Errorf(api.Exhausted,
		"choose subnet: every /20 from 10.210.0.0 to 10.255.240.0 overlaps a route or an address of this node; configure one")
}

// usedPrefixes gives every IPv4 destination that the node has a route to, but for default routes and those over our
// own bridge, and every address it has.
func (n *Network) usedPrefixes() ([]netip.Prefix, error) {
	own := -1
	if l, err := n.link.LinkByName(n.BridgeName()); err == nil {
		own = l.Attrs().Index
	}
	var used []netip.Prefix
	routes, err := dump(func() ([]netlink.Route, error) {
		return n.link.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && r.LinkIndex != own && p.Bits() > 0 {
			used = append(used, p)
		}
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return n.link.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok && a.LinkIndex != own {
			used = append(used, p)
		}
	}
	return used, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if a = a.Unmap(); !ok || !a.Is4() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits).Masked(), true
}

// ensureBridge makes the bridge, or brings an existing one to what it should be.
func (n *Network) ensureBridge() error {
	snoop := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = n.BridgeName(), n.mtu, hardwareAddr(n.gateway)
	err := n.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snoop})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add bridge %s: %w", n.BridgeName(), err)
	}
	l, err := n.link.LinkByName(n.BridgeName())
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.BridgeName(), err)
	}
	br, ok := l.(*netlink.Bridge)
	if !ok {
		return api.Errorf(api.Conflict, "interface %s exists and is a %s, not a bridge", n.BridgeName(), l.Type())
	}
	n.bridge = br
	if err := n.link.LinkSetMTU(br, n.mtu); err != nil {
		return fmt.Errorf("set MTU of bridge: %w", err)
	}
	if err := n.link.LinkSetHardwareAddr(br, hardwareAddr(n.gateway)); err != nil {
		return fmt.Errorf("set hardware address of bridge: %w", err)
	}
	// No IPv6 towards tasks: the node would otherwise listen on a link-local address of the bridge.
	if err := writeSysctl("net.ipv6.conf."+n.BridgeName()+".disable_ipv6", "1"); err != nil &&
		!errors.Is(err, fs.ErrNotExist) {
		return err
	}
	have, err := dump(func() ([]netlink.Addr, error) { return n.link.AddrList(br, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge: %w", err)
	}
	want := &net.IPNet{IP: n.gateway.AsSlice(), Mask: net.CIDRMask(n.subnet.Bits(), 32)}
	for i := range have {
		if have[i].IPNet.String() != want.String() {
			if err := n.link.AddrDel(br, &have[i]); err != nil {
				return fmt.Errorf("remove address %s of bridge: %w", have[i].IPNet, err)
			}
		}
	}
	if err := n.link.AddrReplace(br, &netlink.Addr{IPNet: want}); err != nil {
		return fmt.Errorf("add address %s to bridge: %w", want, err)
	}
	if err := n.link.LinkSetUp(br); err != nil {
		return fmt.Errorf("set bridge up: %w", err)
	}
	return nil
}

// ensureServices makes every virtual address one of the node's own, so that it answers an echo request there and the
// range is seen to be in use. The route goes with the bridge.
func (n *Network) ensureServices() error {
	err := n.link.RouteReplace(&netlink.Route{
		LinkIndex: n.bridge.Index, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		Dst: &net.IPNet{IP: n.services.Addr().AsSlice(), Mask: net.CIDRMask(n.services.Bits(), 32)},
	})
	if err != nil {
		return fmt.Errorf("add route of virtual addresses %s: %w", n.services, err)
	}
	return nil
}

// uplinkMTU gives the MTU of the interface that the default route leaves by.
func (n *Network) uplinkMTU() int {
	routes, err := dump(func() ([]netlink.Route, error) { return n.link.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return fallbackMTU
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); r.Dst != nil && (!ok || p.Bits() != 0) {
			continue
		}
		if l, err := n.link.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU >= 576 {
			return l.Attrs().MTU
		}
	}
	return fallbackMTU
}

// hardwareAddr derives a locally administered address from an IPv4 one, as Docker does. An address that is given
// out again keeps its hardware address, so that no neighbour's ARP cache is wrong about it.
func hardwareAddr(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
}

// enableForwarding turns on the node's forwarding of IPv4 packets and notes whether it was us.
func enableForwarding(s *settings) error {
	b, err := os.ReadFile(forwardingPath)
	if err != nil {
		return fmt.Errorf("read ip_forward: %w", err)
	}
	if strings.TrimSpace(string(b)) != "0" {
		return nil
	}
	if err := os.WriteFile(forwardingPath, []byte("1"), 0); err != nil {
		return fmt.Errorf("enable ip_forward: %w", err)
	}
	s.Forwarding = true
	return nil
}

// lockNode waits until no other instance on this machine chooses a subnet, makes or removes a bridge. The kernel's
// own directory serves as the lock file: there is one a machine, and nothing is left behind.
func lockNode() (unlock func(), err error) {
	f, err := os.Open("/sys/class/net")
	if err != nil {
		return nil, fmt.Errorf("open node's network lock: %w", err)
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take node's network lock: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil // the lock ends with the file
}
