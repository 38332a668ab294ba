package compose

import (
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

func (c *converter) networks() map[string]api.NetworkSpec {
	out := map[string]api.NetworkSpec{}
	for _, key := range slices.Sorted(maps.Keys(c.project.Networks)) {
		n, field := c.project.Networks[key], "networks."+key
		if n.External {
			c.refuse(field+".external", "true", "not supported: networks belong to their app and environment")
			continue
		}
		switch n.Driver {
		case "", "bridge", "overlay", "default":
		default:
			c.refuse(field+".driver", n.Driver, "not supported; expected bridge or overlay, both ikada's own network")
		}
		if n.EnableIPv4 != nil && !*n.EnableIPv4 {
			c.refuse(field+".enable_ipv4", "false", "not supported: tasks have IPv4 addresses")
		}
		if n.EnableIPv6 != nil && *n.EnableIPv6 {
			c.warn("%s.enable_ipv6 has no effect: tasks have IPv4 addresses", field)
		}
		out[key] = api.NetworkSpec{Internal: n.Internal}
	}
	return out
}

// joins gives the networks of a service, with container_name as a further alias: Docker resolves it too.
func (c *converter) joins(field string, s *types.ServiceConfig) []api.NetworkJoin {
	keys := slices.Sorted(maps.Keys(s.Networks))
	if len(keys) == 0 && s.ContainerName != "" {
		keys = []string{api.DefaultNetwork} // network_mode took the place of networks
	}
	var out []api.NetworkJoin
	for _, key := range keys {
		join := api.NetworkJoin{Network: key}
		if n := s.Networks[key]; n != nil {
			join.Aliases = slices.Clone(n.Aliases)
			if !n.ServiceNameAliasEnabled() {
				c.refuse(field+".networks."+key+".use_service_name_alias", "false", "not supported: a service is always known by its name")
			}
		}
		if s.ContainerName != "" && s.ContainerName != s.Name && !slices.Contains(join.Aliases, s.ContainerName) {
			join.Aliases = append(join.Aliases, s.ContainerName)
		}
		slices.Sort(join.Aliases)
		join.Aliases = slices.Compact(join.Aliases)
		out = append(out, join)
	}
	return out
}

// extraHosts takes one address a name.
func (c *converter) extraHosts(field string, hosts types.HostsList) map[string]string {
	if len(hosts) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		addresses := hosts[name]
		if len(addresses) != 1 || strings.TrimSpace(addresses[0]) == "" {
			c.bad(field+"."+name, strings.Join(addresses, ","), "one address")
			continue
		}
		out[name] = addresses[0]
	}
	return out
}
