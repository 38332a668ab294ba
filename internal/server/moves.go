package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// everyHost is how a move names a route without a host.
const everyHost = "*"

// checkMoves refuses hosts and ports that no spec could have, and those that move nothing.
func checkMoves(m api.Moves, spec *api.AppSpec) error {
	hosts, ports := map[string]bool{}, map[string]bool{}
	for _, svc := range spec.Services {
		for _, r := range svc.Routes {
			hosts[hostKey(r.Host)] = true
		}
		for _, p := range svc.Ports {
			if p.Published != 0 {
				ports[strconv.Itoa(int(p.Published))] = true
			}
		}
	}
	names := func(m map[string]bool) string {
		if len(m) == 0 {
			return "none: there is none to move"
		}
		return "one of " + strings.Join(slices.Sorted(maps.Keys(m)), ", ")
	}
	for _, host := range slices.Sorted(maps.Keys(m.Hosts)) {
		if !hosts[hostKey(host)] {
			return api.FieldError("hosts", host, "a host of a route: "+names(hosts))
		}
		if m.Hosts[host] == "" {
			return api.FieldError("hosts."+host, "", `the host to take its place, or "*" for none`)
		}
	}
	for _, port := range slices.Sorted(maps.Keys(m.Ports)) {
		if !ports[port] {
			return api.FieldError("ports", port, "a published port: "+names(ports))
		}
	}
	return nil
}

func hostKey(host string) string {
	if host == "" {
		return everyHost
	}
	return strings.ToLower(host)
}

// moved gives a service with other hosts and published ports.
func moved(svc api.ServiceSpec, m api.Moves) api.ServiceSpec {
	hosts := map[string]string{}
	for from, to := range m.Hosts {
		hosts[hostKey(from)] = to
	}
	svc.Routes = slices.Clone(svc.Routes)
	for i := range svc.Routes {
		r := &svc.Routes[i]
		if to, ok := hosts[hostKey(r.Host)]; ok {
			if r.Host = to; to == everyHost {
				r.Host = ""
			}
		}
		if r.Redirect == nil {
			continue
		}
		if to, ok := hosts[strings.ToLower(r.Redirect.Host)]; ok && to != everyHost && r.Redirect.Host != "" {
			redirect := *r.Redirect
			redirect.Host = to
			r.Redirect = &redirect
		}
	}
	svc.Ports = slices.Clone(svc.Ports)
	for i := range svc.Ports {
		if to, ok := m.Ports[strconv.Itoa(int(svc.Ports[i].Published))]; ok && svc.Ports[i].Published != 0 {
			svc.Ports[i].Published = to
		}
	}
	return svc
}

// refuseTaken is refuseClaimed for a spec that came from another environment: it names everything that is taken, with
// what to give for it.
func refuseTaken(tx store.Tx, spec *api.AppSpec) error {
	found, err := collisions(tx, spec)
	if err != nil || len(found) == 0 {
		return err
	}
	var lines, flags []string
	for _, c := range found {
		what, flag := "route "+c.wanted.route, "--route "+hostKey(c.wanted.host)+"=HOST"
		if c.wanted.port != 0 {
			port := strconv.Itoa(int(c.wanted.port))
			what, flag = "port "+port, "--port "+port+"=PORT (or --port "+port+"=none)"
		}
		lines = append(lines, fmt.Sprintf("%s of service %s is taken by service %s of %s", what, c.wanted.service, c.taken.service, c.taken.env))
		if !slices.Contains(flags, flag) {
			flags = append(flags, flag)
		}
	}
	return api.Errorf(api.Conflict, "%s; give others with %s", strings.Join(lines, "; "), strings.Join(flags, " "))
}
