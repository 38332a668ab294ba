// Package names knows which endpoint is found under which name, and who may ask for it.
//
// It owns the rule that names are seen only within a shared network; it knows no DNS, no socket and no disk. Safe
// for concurrent use. Start at [Directory.Put] and [Directory.Resolve].
package names

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/ikada/ikada/internal/agent"
)

// Entry is an endpoint with its address and its readiness.
type Entry struct {
	agent.Endpoint
	Address netip.Addr
	Ready   bool
}

// Directory holds entries by address, by ID and by name. The zero value is ready to use.
type Directory struct {
	mu     sync.RWMutex
	byID   map[string]*Entry
	byAddr map[netip.Addr]*Entry
	byName map[key]map[string]*Entry // then by ID
}

type key struct{ network, name string }

// Put adds an entry, or replaces the one of the same ID.
func (d *Directory) Put(e Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID == nil {
		d.byID, d.byAddr, d.byName = map[string]*Entry{}, map[netip.Addr]*Entry{}, map[key]map[string]*Entry{}
	}
	d.remove(e.ID)
	p := &e
	d.byID[e.ID], d.byAddr[e.Address] = p, p
	for k := range keys(p) {
		if d.byName[k] == nil {
			d.byName[k] = map[string]*Entry{}
		}
		d.byName[k][e.ID] = p
	}
}

// Remove forgets an entry; an unknown ID is ignored.
func (d *Directory) Remove(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(id)
}

func (d *Directory) remove(id string) {
	e := d.byID[id]
	if e == nil {
		return
	}
	delete(d.byID, id)
	delete(d.byAddr, e.Address)
	for k := range keys(e) {
		delete(d.byName[k], id)
		if len(d.byName[k]) == 0 {
			delete(d.byName, k)
		}
	}
}

// SetReady changes whether an entry's names are answered with its address. It gives the entry as it is then, and
// whether the ID is known and its readiness another than before.
func (d *Directory) SetReady(id string, ready bool) (e Entry, changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.byID[id]
	if p == nil || p.Ready == ready {
		return Entry{}, false
	}
	p.Ready = ready
	return *p, true
}

// Get gives the entry of an ID.
func (d *Directory) Get(id string) (Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.byID[id]; e != nil {
		return *e, true
	}
	return Entry{}, false
}

// At gives the entry that has an address.
func (d *Directory) At(a netip.Addr) (Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.byAddr[a]; e != nil {
		return *e, true
	}
	return Entry{}, false
}

// IDs gives the IDs of all entries, sorted.
func (d *Directory) IDs() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ids := make([]string, 0, len(d.byID))
	for id := range d.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Resolve gives the addresses of the ready endpoints that the one with address asker finds under a name, sorted,
// and whether the name exists for it at all. "tasks.NAME" means the same as NAME, as in Swarm, unless an endpoint
// is called so itself.
func (d *Directory) Resolve(asker netip.Addr, name string) (addrs []netip.Addr, known bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.byAddr[asker]
	if e == nil {
		return nil, false
	}
	name = fold(name)
	addrs, known = d.lookup(e, name)
	if service, ok := strings.CutPrefix(name, "tasks."); ok && !known {
		addrs, known = d.lookup(e, service)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), known
}

func (d *Directory) lookup(asker *Entry, name string) (addrs []netip.Addr, known bool) {
	for _, m := range asker.Networks {
		for _, e := range d.byName[key{m.Network, name}] {
			known = true
			if e.Ready {
				addrs = append(addrs, e.Address)
			}
		}
	}
	return addrs, known
}

// Reverse gives the name by which asker knows the endpoint at an address: the most specific that the endpoint has in
// a network they share ("web.1" before "web"), and whether there is one. Readiness does not matter.
func (d *Directory) Reverse(asker, a netip.Addr) (string, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	from, to := d.byAddr[asker], d.byAddr[a]
	if from == nil || to == nil {
		return "", false
	}
	var best string
	for _, m := range to.Networks {
		if !memberOf(from, m.Network) {
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

// Share tells whether the endpoints at two addresses are in one network, or are the same.
func (d *Directory) Share(a, b netip.Addr) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	x, y := d.byAddr[a], d.byAddr[b]
	if x == nil || y == nil {
		return false
	}
	return x == y || slices.ContainsFunc(x.Networks, func(m agent.Member) bool { return memberOf(y, m.Network) })
}

func memberOf(e *Entry, network string) bool {
	return slices.ContainsFunc(e.Networks, func(m agent.Member) bool { return m.Network == network })
}

// keys gives what an entry is found under, each once.
func keys(e *Entry) map[key]bool {
	ks := map[key]bool{}
	for _, m := range e.Networks {
		for _, n := range m.Names {
			ks[key{m.Network, fold(n)}] = true
		}
	}
	return ks
}

// fold brings a name to the form in which it is compared: names in DNS ignore case and may end with a dot.
func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
