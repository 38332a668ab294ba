// Package pool gives out the addresses of one IPv4 subnet and takes them back.
//
// It owns nothing but numbers in memory: who holds an address across restarts is for its user to remember and to
// tell again by [Pool.Claim]. Addresses that were given back come up again as late as possible, since caches and
// connections elsewhere may still mean their last holder. Safe for concurrent use. Start at [New].
package pool

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/ikada/ikada/api"
)

// Pool holds the addresses of a subnet except for its own (the first of all), the gateway's (the first host's) and
// the broadcast address.
type Pool struct {
	subnet netip.Prefix

	mu   sync.Mutex
	free []netip.Addr // longest unused first
	held map[netip.Addr]bool
}

// New makes a pool of all of a subnet's addresses. Errors of kind Invalid when it is not IPv4, or has no room for a
// gateway and one more (longer than /30), or is larger than a /12.
func New(subnet netip.Prefix) (*Pool, error) {
	if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() > 30 || subnet.Bits() < 12 {
		return nil, api.FieldError("subnet", subnet.String(), "an IPv4 prefix between /12 and /30, such as 10.210.0.0/20")
	}
	subnet = subnet.Masked()
	p := &Pool{subnet: subnet, held: map[netip.Addr]bool{}}
	last := Broadcast(subnet)
	for a := Gateway(subnet).Next(); a.Less(last); a = a.Next() {
		p.free = append(p.free, a)
	}
	return p, nil
}

// Gateway gives the address that the node itself has in a subnet: its first host.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// Broadcast gives the last address of an IPv4 subnet.
func Broadcast(subnet netip.Prefix) netip.Addr {
	b := subnet.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | (1<<(32-subnet.Bits()) - 1)
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// Take gives out the address that has been unused longest. The error is of kind Exhausted and names the subnet.
func (p *Pool) Take() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return netip.Addr{}, api.Errorf(api.Exhausted, "no address is left in subnet %s: all %d are in use",
			p.subnet, len(p.held))
	}
	a := p.free[0]
	p.free = p.free[1:]
	p.held[a] = true
	return a, nil
}

// Claim marks an address as held. It gives false when the address is not the pool's to give or is held already.
func (p *Pool) Claim(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, f := range p.free {
		if f == a {
			p.free = append(p.free[:i:i], p.free[i+1:]...)
			p.held[a] = true
			return true
		}
	}
	return false
}

// Give takes an address back. One that is not held is ignored.
func (p *Pool) Give(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[a] {
		delete(p.held, a)
		p.free = append(p.free, a)
	}
}

// Held gives how many addresses are given out.
func (p *Pool) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held)
}
