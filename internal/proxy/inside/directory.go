package inside

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
)

// Directory says which address is found under which name, and who may know. It is immutable.
type Directory struct {
	bridge    Bridge
	byAddress map[netip.Addr]*Host
	byName    map[key][]*Host
	services  map[key][]netip.Addr
	virtual   map[netip.Addr]*api.Inside
}

// key is a name within a network, in the form in which names are compared.
type key struct{ network, name string }

// NewDirectory makes the directory of a bridge's hosts and the services that they may reach. Neither may be changed
// afterwards.
func NewDirectory(b Bridge, services []api.Inside) *Directory {
	d := &Directory{
		bridge: b, byAddress: make(map[netip.Addr]*Host, len(b.Hosts)), byName: map[key][]*Host{},
		services: map[key][]netip.Addr{}, virtual: make(map[netip.Addr]*api.Inside, len(services)),
	}
	for i := range b.Hosts {
		h := &b.Hosts[i]
		d.byAddress[h.Address] = h
		for _, m := range h.Networks {
			for _, n := range m.Names {
				k := key{m.Network, fold(n)}
				if !slices.Contains(d.byName[k], h) {
					d.byName[k] = append(d.byName[k], h)
				}
			}
		}
	}
	for i := range services {
		s := &services[i]
		a, err := netip.ParseAddr(s.Address)
		if err != nil {
			continue // its tasks are found all the same
		}
		d.virtual[a] = s
		for _, network := range s.Networks {
			for _, name := range slices.Concat(s.Names, s.Aliases[network]) {
				k := key{NetworkName(s.EnvRef, network), fold(name)}
				if !slices.Contains(d.services[k], a) {
					d.services[k] = append(d.services[k], a)
				}
			}
		}
	}
	return d
}

// NetworkName gives the name, unique on a node, of an environment's network.
func NetworkName(env api.EnvRef, network string) string { return env.String() + "/" + network }

// At gives the host that has an address on the bridge; nil when there is none.
func (d *Directory) At(a netip.Addr) *Host { return d.byAddress[a] }

// Resolve gives the addresses that the host with address asker finds under a name, sorted, and whether the name
// exists for it at all. A service's name and its aliases are found at its virtual address, whether a task is ready or
// not; a task's own name at its address while it is ready. "tasks.NAME" gives the addresses of the ready tasks
// themselves, as in Swarm, and so does NAME when the service has no virtual address.
func (d *Directory) Resolve(asker netip.Addr, name string) (addrs []netip.Addr, known bool) {
	h := d.byAddress[asker]
	if h == nil {
		return nil, false
	}
	name = fold(name)
	for _, m := range h.Networks {
		addrs = append(addrs, d.services[key{m.Network, name}]...)
	}
	if known = len(addrs) > 0; !known {
		addrs, known = d.tasks(h, name)
	}
	if service, ok := strings.CutPrefix(name, "tasks."); ok && !known {
		addrs, known = d.tasks(h, service)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), known
}

func (d *Directory) tasks(asker *Host, name string) (addrs []netip.Addr, known bool) {
	for _, m := range asker.Networks {
		for _, h := range d.byName[key{m.Network, name}] {
			known = true
			if h.Ready {
				addrs = append(addrs, h.Address)
			}
		}
	}
	return addrs, known
}

// Reverse gives the name by which asker knows what has an address: a service's, or the most specific that a host has
// in a network they share ("web.1" before "web"), and whether there is one. Readiness does not matter.
func (d *Directory) Reverse(asker, a netip.Addr) (string, bool) {
	from := d.byAddress[asker]
	if from == nil {
		return "", false
	}
	if s := d.virtual[a]; s != nil {
		for _, n := range s.Networks {
			if from.in(NetworkName(s.EnvRef, n)) {
				return fold(s.Service), true
			}
		}
		return "", false
	}
	to := d.byAddress[a]
	if to == nil {
		return "", false
	}
	var best string
	for _, m := range to.Networks {
		if !from.in(m.Network) {
			continue
		}
		for _, n := range m.Names {
			if best == "" || strings.Contains(n, ".") && !strings.Contains(best, ".") {
				best = fold(n)
			}
		}
	}
	return best, best != ""
}

// share tells whether the hosts at two addresses are in one network, or are the same.
func (d *Directory) share(a, b netip.Addr) bool {
	x, y := d.byAddress[a], d.byAddress[b]
	if x == nil || y == nil {
		return false
	}
	return x == y || slices.ContainsFunc(x.Networks, func(m Membership) bool { return y.in(m.Network) })
}

// own tells whether an address is the bridge's to give names to.
func (d *Directory) own(a netip.Addr) bool {
	return d.bridge.Subnet.Contains(a) || d.bridge.Services.IsValid() && d.bridge.Services.Contains(a)
}

// fold brings a name to the form in which it is compared: names in DNS ignore case and may end with a dot.
func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
