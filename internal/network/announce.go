package network

import "github.com/ikada/ikada/internal/proxy/inside"

// announce tells the name service who is on the bridge now. It is called after every change and before what depends
// on it: a task starts once its address may ask, and an address is given out again once its last holder may not.
// Announcements are made one at a time, each of everyone, so that the last one made is the newest.
func (n *Network) announce() {
	if n.cfg.Announce == nil {
		return
	}
	n.announcing.Lock()
	defer n.announcing.Unlock()
	n.cfg.Announce(inside.Bridge{Subnet: n.subnet, Gateway: n.gateway, Services: n.services, Door: doorOf(n.services),
		Hosts: n.roster.Hosts()})
}
