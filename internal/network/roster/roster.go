// Package roster knows which endpoints are attached to the node's bridge, with their addresses and their readiness.
//
// It is memory only: what is kept over a restart is its user's. Safe for concurrent use. Start at [Roster.Put] and
// [Roster.Hosts].
package roster

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// Entry is an endpoint with its address and its readiness.
type Entry struct {
	agent.Endpoint
	Address netip.Addr
	Ready   bool
}

// Roster holds entries by ID. The zero value is ready to use.
type Roster struct {
	mu   sync.RWMutex
	byID map[string]*Entry
}

// Put adds an entry, or replaces the one of the same ID.
func (r *Roster) Put(e Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = map[string]*Entry{}
	}
	r.byID[e.ID] = &e
}

// Remove forgets an entry; an unknown ID is ignored.
func (r *Roster) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, id)
}

// SetReady changes an entry's readiness. It gives the entry as it is then, and whether the ID is known and its
// readiness another than before.
func (r *Roster) SetReady(id string, ready bool) (e Entry, changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.byID[id]
	if p == nil || p.Ready == ready {
		return Entry{}, false
	}
	p.Ready = ready
	return *p, true
}

// Get gives the entry of an ID.
func (r *Roster) Get(id string) (Entry, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.byID[id]; e != nil {
		return *e, true
	}
	return Entry{}, false
}

// IDs gives the IDs of all entries, sorted.
func (r *Roster) IDs() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ids := make([]string, 0, len(r.byID))
	for id := range r.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Hosts gives all entries as the name service knows them, sorted by ID.
func (r *Roster) Hosts() []inside.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	hosts := make([]inside.Host, 0, len(r.byID))
	for _, e := range r.byID {
		hosts = append(hosts, e.host())
	}
	slices.SortFunc(hosts, func(a, b inside.Host) int { return cmp.Compare(a.ID, b.ID) })
	return hosts
}

func (e *Entry) host() inside.Host {
	h := inside.Host{ID: e.ID, Address: e.Address, Ready: e.Ready, Internal: e.Internal}
	for _, m := range e.Networks {
		h.Networks = append(h.Networks, inside.Membership{Network: m.Network, Names: m.Names})
	}
	for _, text := range e.DNS {
		if a, err := netip.ParseAddr(text); err == nil { // checked when it was attached
			h.Servers = append(h.Servers, a)
		}
	}
	return h
}
