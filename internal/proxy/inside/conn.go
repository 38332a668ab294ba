package inside

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Conn is a connection that a task opened to a virtual address.
type Conn struct {
	*net.TCPConn
	Dest netip.AddrPort // where the task meant to go
}

// Original gives the address and port that an accepted IPv4 connection was meant for before the kernel's packet
// filter redirected it to this socket (SO_ORIGINAL_DST of linux/netfilter_ipv4.h); for one that was not redirected, its
// local address.
func Original(c *net.TCPConn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find original destination: %w", err)
	}
	var dest netip.AddrPort
	var failed error
	err = raw.Control(func(fd uintptr) {
		// The answer is a struct sockaddr_in, 16 bytes: family, port in network order, address. The library has no
		// call for it; that for an IPv6 membership passes a buffer of 20 bytes and is otherwise the same.
		m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, unix.SO_ORIGINAL_DST)
		if err != nil {
			failed = err
			return
		}
		dest = netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), binary.BigEndian.Uint16(m.Multiaddr[2:4]))
	})
	if err = errors.Join(err, failed); errors.Is(err, unix.ENOENT) {
		local, ok := c.LocalAddr().(*net.TCPAddr)
		if !ok {
			return netip.AddrPort{}, fmt.Errorf("find original destination: %w", err)
		}
		a := local.AddrPort()
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find original destination: %w", err)
	}
	return dest, nil
}
