package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/ikada/ikada/api"
)

// This file is inside traffic: connections of tasks to the virtual addresses of services. The node's firewall redirects
// all of them to one socket, a door of kind virtual, whatever port they are for; each is then served like one to a
// published port of that service. Which ports of a service are spoken to is not known before: the first connection to
// one makes its entry, and tables that come later make it again for as long as the service is there.

// portsPerService is how many ports of one service may be spoken to; a connection to a further one is closed. It
// bounds what a task that tries all ports can make the balancer keep.
const portsPerService = 64

// SetInside says where connections to virtual addresses are redirected to, an address of this node, in place of what
// was said before; "" is nowhere. Like other ports it is opened by Open.
func (p *Proxy) SetInside(addr string) {
	p.applying.Lock()
	defer p.applying.Unlock()
	if p.inside == addr {
		return
	}
	p.inside = addr
	p.doors.share(p.sharedPorts())
	if p.doors.sync(p.current().addresses()) {
		p.signal()
	}
}

// enter sees to it that a port of a virtual address has an entry. It gives false when there is no such service, or
// too many of its ports are spoken to.
func (p *Proxy) enter(dest netip.AddrPort) bool {
	if p.current().inside[dest] != nil {
		return true
	}
	p.applying.Lock()
	defer p.applying.Unlock()
	t := p.current()
	switch {
	case t.inside[dest] != nil:
		return true
	case t.applied && t.virtual[dest.Addr()] == nil || p.spokenOn(dest.Addr()) >= portsPerService:
		return false
	}
	p.spoken[dest] = true
	if t.applied { // else the first table finds it
		p.enforce(t.from)
	}
	return true
}

// spokenOn counts the ports of a virtual address that are spoken to; p.applying is held.
func (p *Proxy) spokenOn(a netip.Addr) (n int) {
	for dest := range p.spoken {
		if dest.Addr() == a {
			n++
		}
	}
	return n
}

// forgetSpoken drops the ports of services that the table does not have; p.applying is held.
func (p *Proxy) forgetSpoken(t *table) {
	for dest := range p.spoken {
		if t.inside[dest] == nil {
			delete(p.spoken, dest)
		}
	}
}

// addInside makes the entries of the ports that are spoken to. A port that is published too leads to the pool of that,
// which knows where tasks of another release listen.
func (c *compiler) addInside(services []api.Inside, spoken map[netip.AddrPort]bool) {
	n := c.next
	for i := range services {
		s := &services[i]
		a, err := netip.ParseAddr(s.Address)
		if err != nil {
			n.conflicts[s.Address] = err.Error()
			continue
		}
		n.virtual[a] = s
		for _, target := range s.Targets {
			n.tasks[target.Task] = true // whichever port comes to be spoken to
		}
	}
	for dest := range spoken {
		s := n.virtual[dest.Addr()]
		if s == nil {
			continue
		}
		port := strconv.Itoa(int(dest.Port()))
		name := fmt.Sprintf("%s/%s:%s", s.EnvRef, s.Service, port)
		to := n.pools[name]
		if to == nil {
			from := api.Pool{Name: name, EnvRef: s.EnvRef, Service: s.Service, Hold: s.Hold, Weights: s.Weights}
			for _, target := range s.Targets {
				target.Address = net.JoinHostPort(target.Address, port)
				from.Targets = append(from.Targets, target)
			}
			to = c.pool(from)
			n.pools[name] = to
		}
		if e := c.newEntry(dest.String(), "/", to, api.RoutePolicy{}); e != nil {
			n.inside[dest] = e
		}
	}
}

// direct gives the entry of a connection that needs no route.
func (d *door) direct(t *table, from *client) *entry {
	if d.kind == virtual {
		return t.inside[from.dest]
	}
	return t.listeners[d.addr].entry
}

// protocol gives what is spoken on a connection that needs no route, as far as that is known.
func (d *door) protocol(from *client) string {
	t := d.proxy.current()
	if d.kind != virtual {
		return t.listeners[d.addr].Protocol
	}
	if s := t.virtual[from.dest.Addr()]; s != nil {
		return s.Protocols[from.dest.Port()]
	}
	return api.ProtoAuto
}
