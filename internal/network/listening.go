package network

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

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

// inNamespace runs f on a thread in the network namespace that is pinned at path. As in inNewNamespace, the thread
// ends with its goroutine unless it comes home.
func inNamespace(path string, f func() error) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			defer home.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil { // it never left
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
