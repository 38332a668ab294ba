package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// doorPort is where the balancer accepts what is redirected from virtual addresses. It is DNS's, which tasks need at
// the gateway anyway: no further port is lost to those that users publish.
const doorPort = 53

// doorOf gives the address at which the balancer accepts what is redirected: the first host of the range of virtual
// addresses, which no service gets. No task reaches it by itself.
func doorOf(services netip.Prefix) netip.AddrPort {
	return netip.AddrPortFrom(services.Addr().Next(), doorPort)
}

// virtual is what the node knows of a service behind a virtual address.
type virtual struct {
	Networks []string     `json:"networks"`          // sorted; only their members reach it
	Targets  []netip.Addr `json:"targets,omitempty"` // ready tasks, sorted
}

// Expose implements agent.Network.
func (n *Network) Expose(services []api.Inside) error {
	if err := n.ready(); err != nil {
		return err
	}
	n.exposing.Lock()
	defer n.exposing.Unlock()
	n.wanted = n.virtualAddresses(services)
	return n.exposeWanted()
}

// retryExpose does what an Expose could not, if anything.
func (n *Network) retryExpose() error {
	n.exposing.Lock()
	defer n.exposing.Unlock()
	if n.wanted == nil {
		return nil
	}
	return n.exposeWanted()
}

// exposeWanted puts what was asked for last in force; n.exposing is held.
func (n *Network) exposeWanted() error {
	next := n.wanted
	if reflect.DeepEqual(n.exposed, next) {
		return nil
	}
	if err := n.firewall.expose(next); err != nil {
		return fmt.Errorf("expose services: %w", err)
	}
	n.exposed = next
	select {
	case n.changed <- struct{}{}:
	default: // settleExposed takes the newest anyway
	}
	return nil
}

// settleExposed does what follows from a change and nobody has to wait for: to look through the flows that the kernel
// tracks takes milliseconds, and the route table comes after Expose. The record is written last, so that an ikada that
// is killed before does it again.
func (n *Network) settleExposed() {
	n.exposing.Lock()
	before, after := n.settled, n.exposed
	n.exposing.Unlock()
	if reflect.DeepEqual(before, after) {
		return
	}
	if err := n.forgetFlows(before, after); err != nil {
		n.log.Warn("datagrams may go to tasks that are gone for a while", "error", err)
	}
	b, err := json.Marshal(after)
	if err == nil {
		err = replaceFile(n.exposedPath(), b)
	}
	if err != nil {
		n.log.Error("exposed services not kept", "error", err) // tried again with the next check
		return
	}
	n.exposing.Lock()
	defer n.exposing.Unlock()
	n.settled = after
}

// watchExposed settles changes until ctx ends, the last one included.
func (n *Network) watchExposed(ctx context.Context) {
	tick := time.NewTicker(n.cfg.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.changed:
		case <-tick.C:
		case <-ctx.Done():
			n.settleExposed()
			return
		}
		n.settleExposed()
	}
}

// virtualAddresses gives services by address; what is not of the range is left out.
func (n *Network) virtualAddresses(services []api.Inside) map[netip.Addr]virtual {
	all := make(map[netip.Addr]virtual, len(services))
	for _, s := range services {
		a, err := netip.ParseAddr(s.Address)
		if err != nil || !n.services.Contains(a) || a == doorOf(n.services).Addr() {
			continue
		}
		var v virtual
		for _, network := range s.Networks {
			v.Networks = append(v.Networks, inside.NetworkName(s.EnvRef, network))
		}
		for _, t := range s.Targets {
			if a, err := netip.ParseAddr(t.Address); err == nil && a.Is4() {
				v.Targets = append(v.Targets, a)
			}
		}
		slices.Sort(v.Networks)
		slices.SortFunc(v.Targets, netip.Addr.Compare)
		v.Networks, v.Targets = slices.Compact(v.Networks), slices.Compact(v.Targets)
		all[a] = v
	}
	return all
}

func (n *Network) exposedPath() string { return filepath.Join(n.cfg.StateDir, "services.json") }

// readExposed gives what an earlier process exposed: it stays in force until the first Expose.
func (n *Network) readExposed() (map[netip.Addr]virtual, error) {
	all := map[netip.Addr]virtual{}
	b, err := os.ReadFile(n.exposedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read exposed services: %w", err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		n.log.Warn("services are not reached until the route table comes: their record cannot be read", "error", err)
		return map[netip.Addr]virtual{}, nil
	}
	maps.DeleteFunc(all, func(a netip.Addr, _ virtual) bool { return !n.services.Contains(a) })
	return all, nil
}
