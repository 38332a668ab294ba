package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/network/roster"
)

// taskInterface is what a task's own end of its veth pair is called.
const taskInterface = "eth0"

// taskSysctls are set in every namespace before the user's: a task need not be root for a low port or a ping, as in
// Docker since 20.10.
var taskSysctls = [][2]string{
	{"net.ipv4.ip_unprivileged_port_start", "0"},
	{"net.ipv4.ping_group_range", "0 2147483647"},
}

// portName gives the name of the node's end of an endpoint's veth pair. It follows from the address, so that two
// endpoints can never hold one address at a time, whatever else went wrong.
func (n *Network) portName(a netip.Addr) string {
	addr, base := a.As4(), n.subnet.Addr().As4()
	offset := binary.BigEndian.Uint32(addr[:]) - binary.BigEndian.Uint32(base[:])
	return n.portPrefix() + strconv.FormatUint(uint64(offset), 16)
}

// makeNamespace makes and pins an endpoint's namespace and connects it.
func (n *Network) makeNamespace(e roster.Entry) error {
	return inNewNamespace(n.netnsPath(e.ID), func(ns *os.File) error {
		// Before the interface comes: eth0 then starts without IPv6, which the bridge would drop.
		err := writeSysctl("net.ipv6.conf.default.disable_ipv6", "1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := n.addPort(n.portName(e.Address), e.Address, ns); err != nil {
			return err
		}
		if err := n.configure(e.Address); err != nil {
			return err
		}
		for _, s := range taskSysctls {
			if err := writeSysctl(s[0], s[1]); err != nil {
				return err
			}
		}
		for name, value := range e.Sysctls {
			if err := writeSysctl(name, value); err != nil {
				return api.FieldError("sysctls."+name, value, "a net.* setting of the kernel and a value it takes: "+err.Error())
			}
		}
		return nil
	})
}

// addPort makes a veth pair, one end on the bridge, the other in the namespace.
func (n *Network) addPort(name string, a netip.Addr, ns *os.File) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex, attrs.Flags = name, n.mtu, n.bridge.Index, net.FlagUp
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = taskInterface, hardwareAddr(a), uint32(n.mtu)
	veth.PeerNamespace = netlink.NsFd(int(ns.Fd()))
	if err := n.link.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth pair %s: %w", name, err)
	}
	// Where bridge-nf-call-iptables is on, a datagram to a task's own service that comes back to itself is turned round
	// within the bridge.
	if err := n.link.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("let %s hear itself: %w", name, err)
	}
	return nil
}

// removePort removes a veth pair by its node's end, which ends the other end with it; none is no error.
func (n *Network) removePort(name string) error {
	l, err := n.link.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil
	}
	if err == nil {
		err = n.link.LinkDel(l)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove veth pair %s: %w", name, err)
	}
	return nil
}

// configure brings up the interfaces of the namespace that the calling thread is in.
func (n *Network) configure(a netip.Addr) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in namespace: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	eth, err := h.LinkByName(taskInterface)
	if err != nil {
		return fmt.Errorf("find %s: %w", taskInterface, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(n.subnet.Bits(), 32)}}
	if err := h.AddrAdd(eth, addr); err != nil {
		return fmt.Errorf("add address %s: %w", a, err)
	}
	if err := h.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set %s up: %w", taskInterface, err)
	}
	route := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: n.gateway.AsSlice()}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	return nil
}

// inNewNamespace makes a network namespace, runs setup on a thread inside it and pins it at path. On error nothing
// is pinned.
func inNewNamespace(path string, setup func(ns *os.File) error) error {
	enter := func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		return nil
	}
	return away(enter, func() error { return pinAndSetUp(path, setup) })
}

// inNamespace runs f on a thread in the network namespace that is pinned at path.
func inNamespace(path string, f func() error) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return away(func() error { return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET) }, f)
}

// away runs f on a thread that enter has taken into another network namespace; one that fails has gone nowhere. The
// thread goes back to the scheduler only once it is in the node's namespace again; else it ends with its goroutine.
// Nothing is ever forked from it.
func away(enter, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("open node's namespace: %w", err)
			return
		}
		defer home.Close()
		if err := enter(); err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// pinAndSetUp does the work of inNewNamespace on the thread that is in the new namespace.
func pinAndSetUp(path string, setup func(ns *os.File) error) (err error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("open new namespace: %w", err)
	}
	defer ns.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("make file of namespace: %w", err)
	}
	_ = f.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, removeNamespace(path))
		}
	}()
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin namespace at %s: %w", path, err)
	}
	return setup(ns)
}

// removeNamespace unpins a namespace; the kernel ends it with its last process. None is no error.
func removeNamespace(path string) error {
	for pinned(path) { // once for each time it was mounted over
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unpin namespace %s: %w", filepath.Base(path), err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file of namespace: %w", err)
	}
	return nil
}

// pinned tells whether a namespace is mounted at path, and not just its empty file there, as after a reboot.
func pinned(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && s.Type == unix.NSFS_MAGIC
}

// writeSysctl sets a kernel setting of the calling thread's network namespace, by its name with dots or slashes.
func writeSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}
