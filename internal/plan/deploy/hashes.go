package deploy

import "github.com/ikada/ikada/api"

// Hashes remembers from plan to plan what [api.HashService] gives, which is most of what a plan costs: releases never
// change. The zero value is ready for use; it is one environment's, and not safe for concurrent use.
type Hashes struct {
	known map[*api.Release]map[string]string
}

// of gives the hash of a release's service.
func (h *Hashes) of(r *api.Release, service string) string {
	services := h.known[r]
	if hash, ok := services[service]; ok {
		return hash
	}
	if services == nil {
		if h.known == nil {
			h.known = map[*api.Release]map[string]string{}
		}
		services = map[string]string{}
		h.known[r] = services
	}
	hash := api.HashService(r.Spec, service)
	services[service] = hash
	return hash
}

// keep forgets the releases that are not among those.
func (h *Hashes) keep(releases map[uint64]*api.Release) {
	if len(h.known) <= len(releases) {
		return // none of them is gone, or so few that it does not matter
	}
	for r := range h.known {
		if releases[r.Number] != r {
			delete(h.known, r)
		}
	}
}
