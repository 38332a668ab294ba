package route

import (
	"maps"
	"slices"

	"github.com/ikada/ikada/api"
)

// addInside adds the services of an environment as its tasks reach them by name: all that are to run, and those of an
// older release that the goal has dropped, as long as tasks of theirs serve: what still runs may still call them.
func addInside(t *api.RouteTable, e *Env) {
	for name, address := range e.Addresses {
		if address == "" {
			continue
		}
		in := api.Inside{Address: address, EnvRef: e.EnvRef, Service: name, Hold: api.DefaultHold}
		var last *api.ServiceSpec // of the newest release whose tasks serve
		newest := uint64(0)
		for i := range e.Tasks {
			task := &e.Tasks[i]
			if task.Service != name || !serves(task) {
				continue
			}
			in.Targets = append(in.Targets, api.Target{Task: task.ID, Release: task.Release, Address: task.Status.Address})
			if r := e.Releases[task.Release]; r != nil && task.Release > newest {
				if spec, ok := r.Spec.Services[name]; ok {
					last, newest = &spec, task.Release
				}
			}
		}
		spec := last
		if e.Goal != nil {
			if goal, ok := e.Goal.Spec.Services[name]; ok && (e.Replicas(name, goal) > 0 || last != nil) {
				spec = &goal
			}
		}
		if spec == nil {
			continue
		}
		slices.SortFunc(in.Targets, byTask)
		in.Protocols = protocols(spec)
		in.Names, in.Networks = names(name, spec)
		t.Inside = append(t.Inside, in)
	}
}

// protocols gives what is spoken on a container's ports, where the spec says so. The first to say it of a port holds.
func protocols(spec *api.ServiceSpec) map[uint16]string {
	out := map[uint16]string{}
	for _, p := range spec.Ports {
		if p.Protocol != api.ProtoAuto && out[p.Target] == "" {
			out[p.Target] = p.Protocol
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// names gives what a service is called by those who share a network with it, its own name first, and its networks.
func names(service string, spec *api.ServiceSpec) (names, networks []string) {
	joined := map[string]bool{}
	aliases := map[string]bool{}
	for _, n := range spec.Networks {
		joined[n.Network] = true
		for _, a := range n.Aliases {
			aliases[a] = true
		}
	}
	if len(joined) == 0 {
		joined[api.DefaultNetwork] = true
	}
	delete(aliases, service)
	return append([]string{service}, slices.Sorted(maps.Keys(aliases))...), slices.Sorted(maps.Keys(joined))
}
