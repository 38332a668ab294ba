package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// claim is a port or route that a service takes for itself.
type claim struct {
	env     api.EnvRef
	service string
	field   string // in an AppSpec
	hostIP  string
	port    uint16 // 0: a route
	route   string // as RouteSpec.Claim
	host    string // of the route
}

// claimsOf gives what a spec takes, by service and place.
func claimsOf(spec *api.AppSpec) []claim {
	ref := api.EnvRef{App: spec.App, Env: spec.Env}
	var claims []claim
	for _, name := range slices.Sorted(maps.Keys(spec.Services)) {
		svc := spec.Services[name]
		for i, p := range svc.Ports {
			if p.Published != 0 {
				claims = append(claims, claim{env: ref, service: name, hostIP: p.HostIP, port: p.Published,
					field: fmt.Sprintf("spec.services.%s.ports[%d].published", name, i)})
			}
		}
		for i, r := range svc.Routes {
			claims = append(claims, claim{env: ref, service: name, route: r.Claim(), host: r.Host,
				field: fmt.Sprintf("spec.services.%s.routes[%d]", name, i)})
		}
	}
	return claims
}

// collides tells whether both cannot be served at once.
func (c claim) collides(o claim) bool {
	if c.port == 0 {
		return o.port == 0 && c.route == o.route
	}
	return c.port == o.port && (c.hostIP == o.hostIP || everyAddress(c.hostIP) || everyAddress(o.hostIP))
}

func everyAddress(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

// refuseClaimed fails with a Conflict when another environment that runs, or is about to, has taken what the spec
// wants.
func refuseClaimed(tx store.Tx, spec *api.AppSpec) error {
	found, err := collisions(tx, spec)
	if err != nil || len(found) == 0 {
		return err
	}
	return collision(found[0].wanted, found[0].taken)
}

// clash is what a spec wants and another environment has.
type clash struct{ wanted, taken claim }

// collisions gives what of a spec's claims another environment has, that runs or is about to, each claim once.
func collisions(tx store.Tx, spec *api.AppSpec) ([]clash, error) {
	wanted := claimsOf(spec)
	if len(wanted) == 0 {
		return nil, nil
	}
	envs, err := store.List[api.Environment](tx, store.Environments)
	if err != nil {
		return nil, err
	}
	var taken []claim
	for _, env := range envs {
		if env.EnvRef == (api.EnvRef{App: spec.App, Env: spec.Env}) || env.Stopped || env.Destroying {
			continue
		}
		more, err := claimedBy(tx, env)
		if err != nil {
			return nil, err
		}
		taken = append(taken, more...)
	}
	var found []clash
	for _, w := range wanted {
		if i := slices.IndexFunc(taken, w.collides); i >= 0 {
			found = append(found, clash{w, taken[i]})
		}
	}
	return found, nil
}

// claimedBy gives what an environment's committed release takes, and those that deployments are bringing.
func claimedBy(tx store.Tx, env *api.Environment) ([]claim, error) {
	open, err := unfinished(tx, env.EnvRef)
	if err != nil {
		return nil, err
	}
	numbers := []uint64{}
	if env.Release != 0 {
		numbers = append(numbers, env.Release)
	}
	for _, d := range open {
		numbers = append(numbers, d.To)
	}
	var claims []claim
	for _, n := range numbers {
		r, err := store.Find[api.Release](tx, store.ReleaseKey(env.EnvRef, n))
		if err != nil {
			return nil, err
		}
		if r != nil {
			claims = append(claims, claimsOf(&r.Spec)...)
		}
	}
	return claims, nil
}

func collision(wanted, taken claim) error {
	e := &api.Error{Kind: api.Conflict, Field: wanted.field, Value: wanted.route,
		Message:  fmt.Sprintf("service %s of %s has it", taken.service, taken.env),
		Expected: "a host and path, or methods and headers, that no other environment has"}
	if wanted.port != 0 {
		e.Value = strconv.Itoa(int(wanted.port))
		e.Expected = "a port that no other environment publishes"
	}
	return e
}
