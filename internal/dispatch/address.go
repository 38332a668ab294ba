package dispatch

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/route"
	"github.com/ikada/ikada/internal/store"
)

// reserved is how many addresses at the beginning of the range are nobody's: the range's own and the balancers' door.
const reserved = 2

// lacking gives, sorted, the services that have no virtual address and should: those that an environment's goal names, and
// those that its tasks are of.
func (d *Dispatcher) lacking(envs []route.Env) map[api.EnvRef][]string {
	lacking := map[api.EnvRef][]string{}
	if !d.cfg.Addresses.IsValid() {
		return lacking
	}
	for i := range envs {
		e := &envs[i]
		if e.Destroying {
			continue
		}
		names := map[string]bool{}
		look := func(service string) {
			if !inRange(d.cfg.Addresses, e.Addresses[service]) {
				names[service] = true
			}
		}
		if e.Goal != nil {
			for service := range e.Goal.Spec.Services {
				look(service)
			}
		}
		for i := range e.Tasks {
			look(e.Tasks[i].Service)
		}
		if len(names) > 0 {
			lacking[e.EnvRef] = slices.Sorted(maps.Keys(names))
		}
	}
	return lacking
}

// allot gives services their virtual addresses, and returns once the mirror has them. A service keeps its address for as
// long as its environment is there, whatever becomes of it in between, since clients may remember it.
func (d *Dispatcher) allot(ctx context.Context, lacking map[api.EnvRef][]string) error {
	rev, err := d.cfg.Store.Update(ctx, func(tx store.Tx) error { return allotIn(tx, d.cfg.Addresses, lacking) })
	if err != nil {
		return err
	}
	return d.cfg.Mirror.Wait(ctx, rev)
}

// allotIn writes addresses down for the services that lack one. The environments tell which are taken; all are read,
// so that two that write at the same time cannot choose the same.
func allotIn(tx store.Tx, from netip.Prefix, lacking map[api.EnvRef][]string) error {
	envs, err := store.List[api.Environment](tx, store.Environments)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, env := range envs {
		for _, a := range env.Addresses {
			taken[a] = true
		}
	}
	for _, env := range envs {
		changed := false
		for _, service := range lacking[env.EnvRef] {
			if inRange(from, env.Addresses[service]) {
				continue // another server's dispatcher was first
			}
			a, err := freeAddress(from, env.String()+"/"+service, taken)
			if err != nil {
				return err
			}
			if env.Addresses == nil {
				env.Addresses = map[string]string{}
			}
			env.Addresses[service], taken[a], changed = a, true, true
		}
		if !changed {
			continue
		}
		if err := store.Put(tx, store.EnvironmentKey(env.EnvRef), env); err != nil {
			return err
		}
	}
	return nil
}

// freeAddress gives the first address that is not taken from where the service's name points to: an environment that
// is destroyed and made again finds its old addresses, mostly, and one that was given back is not given out at once.
func freeAddress(from netip.Prefix, service string, taken map[string]bool) (string, error) {
	base := from.Masked().Addr().As4()
	size := uint32(1)<<(32-from.Bits()) - reserved
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(service)) // a hash takes all
	for i := range size {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(base[:])+reserved+(hash.Sum32()+i)%size)
		if a := netip.AddrFrom4(b).String(); !taken[a] {
			return a, nil
		}
	}
	return "", api.Errorf(api.Exhausted, "no virtual address is left in %s for %s: all %d are in use", from, service, size)
}

func inRange(p netip.Prefix, text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && p.Contains(a)
}
