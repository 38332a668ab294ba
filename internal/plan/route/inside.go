package route

import (
	"slices"

	"github.com/ikada/ikada/api"
)

// addInside adds the services of an environment as its tasks reach them by name: all that are to run, and those of an
// older release that the goal has dropped, as long as tasks of theirs serve: what still runs may still call them.
func (m *maker) addInside() {
	for name, address := range m.Addresses {
		if address == "" {
			continue
		}
		serving := m.serving[name]
		in := api.Inside{Address: address, EnvRef: m.EnvRef, Service: name, Hold: api.DefaultHold, Targets: slices.Grow([]api.Target(nil), len(serving))}
		var spec api.ServiceSpec
		newest := uint64(0) // the release of spec, of those whose tasks serve; 0: none has the service
		for _, task := range serving {
			in.Targets = append(in.Targets, api.Target{Task: task.ID, Release: task.Release, Address: task.Status.Address})
			if task.Release > newest {
				if own, ok := specOf(m.Releases[task.Release], name); ok {
					spec, newest = own, task.Release
				}
			}
		}
		if goal, ok := specOf(m.Goal, name); ok && (newest > 0 || m.Replicas(name, goal) > 0) {
			spec = goal
		} else if newest == 0 {
			continue
		}
		in.Weights, _ = m.share(name, in.Targets)
		in.Protocols = protocols(&spec)
		in.Names = []string{name}
		in.Networks, in.Aliases = networks(name, &spec)
		m.table.Inside = append(m.table.Inside, in)
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

// networks gives the networks of a service, and what else than by its own name it is called in each.
func networks(service string, spec *api.ServiceSpec) (networks []string, aliases map[string][]string) {
	for _, n := range spec.Networks {
		networks = append(networks, n.Network)
		names := slices.DeleteFunc(slices.Clone(n.Aliases), func(a string) bool { return a == service })
		if len(names) == 0 {
			continue
		}
		if aliases == nil {
			aliases = map[string][]string{}
		}
		slices.Sort(names)
		aliases[n.Network] = slices.Compact(names)
	}
	if len(networks) == 0 {
		networks = []string{api.DefaultNetwork}
	}
	slices.Sort(networks)
	return slices.Compact(networks), aliases
}
