package proxy

import (
	"net"
	"strconv"
)

// Ports gives the TCP ports on which the balancer listens for the world now, in no order.
func (p *Proxy) Ports() []uint16 {
	p.doors.mu.Lock()
	defer p.doors.mu.Unlock()
	var out []uint16
	for addr, door := range p.doors.open {
		if door.kind == virtual {
			continue // it has an address of its own
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			out = append(out, uint16(n))
		}
	}
	return out
}
