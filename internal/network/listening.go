package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/prometheus/procfs"

	"github.com/ikada/ikada/api"
)

// tcpListen is the state of a socket that takes connections, TCP_LISTEN of the kernel's tcp_states.h.
const tcpListen = 10

// Listening implements agent.Network.
func (n *Network) Listening(id string) ([]netip.AddrPort, error) {
	if _, ok := n.roster.Get(id); !ok {
		return nil, api.Errorf(api.NotFound, "endpoint %s is not attached", id)
	}
	var found []netip.AddrPort
	err := inNamespace(n.netnsPath(id), func() (err error) {
		found, err = listening()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list listeners of %s: %w", id, err)
	}
	return found, nil
}

// listening gives the TCP addresses that are listened on in the namespace of the calling thread, sorted.
func listening() ([]netip.AddrPort, error) {
	fs, err := procfs.NewFS("/proc/thread-self")
	if err != nil {
		return nil, err
	}
	lines, err := fs.NetTCP() //nolint:staticcheck // asking by netlink takes a module that kernels may lack
	if err != nil {
		return nil, err
	}
	if six, err := fs.NetTCP6(); err == nil { //nolint:staticcheck // as above; not there in a kernel without IPv6
		lines = append(lines, six...)
	}
	var found []netip.AddrPort
	for _, l := range lines {
		if addr, ok := netip.AddrFromSlice(l.LocalAddr); ok && l.St == tcpListen {
			found = append(found, netip.AddrPortFrom(addr.Unmap(), uint16(l.LocalPort)))
		}
	}
	slices.SortFunc(found, netip.AddrPort.Compare)
	return slices.Compact(found), nil
}
