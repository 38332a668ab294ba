// Package networktest is what every implementation of agent.Network has to pass. It owns no network itself. Start
// at [Run].
package networktest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

// Subject is a network to be tested.
type Subject struct {
	Network agent.Network

	// Lookup gives the addresses that an endpoint finds under a name, sorted; none when it finds none.
	Lookup func(t *testing.T, id, name string) []netip.Addr

	// Restart gives the network that takes over after the process was killed; nil where there is no such thing.
	Restart func(t *testing.T) agent.Network
}

// Open makes an empty network for one test and sees to its removal. The zero subnet is any that is large enough.
type Open func(t *testing.T, subnet netip.Prefix) Subject

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"AttachTwiceIsOnce":     attachTwice,
		"AddressesAreDistinct":  distinct,
		"DetachGivesBack":       detach,
		"ExhaustedNamesSubnet":  exhausted,
		"NamesFollowReadiness":  readiness,
		"NamesStayInNetworks":   isolation,
		"ReconcileKeepsOnly":    reconcile,
		"RestartTakesOver":      restart,
		"BadEndpointIsRefused":  refused,
		"CancelledAttachLeaves": cancelled,
		"NobodyListensAtFirst":  silent,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// Endpoint makes the description of a task of a service in networks of an app.
func Endpoint(id, service string, networks ...string) agent.Endpoint {
	e := agent.Endpoint{ID: id, Hostname: id}
	for _, n := range networks {
		e.Networks = append(e.Networks, agent.Member{Network: n, Names: []string{service, service + ".1"}})
	}
	return e
}

func attach(t *testing.T, n agent.Network, e agent.Endpoint) agent.Attachment {
	t.Helper()
	a, err := n.Attach(t.Context(), e)
	if err != nil {
		t.Fatalf("attach %s: %v", e.ID, err)
	}
	return a
}

func attachTwice(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	e := Endpoint("t1", "web", "app/env/default")
	first, second := attach(t, s.Network, e), attach(t, s.Network, e)
	if first != second {
		t.Errorf("attached as %+v, then as %+v", first, second)
	}
	if _, err := netip.ParseAddr(first.Address); err != nil {
		t.Error(err)
	}
}

func distinct(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	const count = 20
	got := make([]agent.Attachment, count)
	errs := make([]error, count)
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			got[i], errs[i] = s.Network.Attach(t.Context(), Endpoint(fmt.Sprintf("t%d", i), "web", "app/env/default"))
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for i := range count {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if j, dup := seen[got[i].Address]; dup {
			t.Errorf("endpoints %d and %d both have %s", i, j, got[i].Address)
		}
		seen[got[i].Address] = i
	}
}

func detach(t *testing.T, open Open) {
	s := open(t, netip.MustParsePrefix("10.97.31.0/30")) // room for one
	for range 3 {
		attach(t, s.Network, Endpoint("t1", "web", "app/env/default"))
		for range 2 { // the second finds its work done
			if err := s.Network.Detach(t.Context(), "t1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Network.Detach(t.Context(), "never-was"); err != nil {
		t.Errorf("detach of an unknown endpoint: %v", err)
	}
}

func exhausted(t *testing.T, open Open) {
	subnet := netip.MustParsePrefix("10.97.32.0/29")
	s := open(t, subnet)
	for i := range 5 {
		attach(t, s.Network, Endpoint(fmt.Sprintf("t%d", i), "web", "app/env/default"))
	}
	_, err := s.Network.Attach(t.Context(), Endpoint("one-too-many", "web", "app/env/default"))
	if !api.IsKind(err, api.Exhausted) || !strings.Contains(err.Error(), subnet.String()) {
		t.Fatalf("error = %v, want kind exhausted, naming %s", err, subnet)
	}
	if err := s.Network.Detach(t.Context(), "t3"); err != nil {
		t.Fatal(err)
	}
	attach(t, s.Network, Endpoint("one-too-many", "web", "app/env/default"))
}

// find checks what an endpoint finds under a name.
func (s Subject) find(t *testing.T, id, name string, want ...agent.Attachment) {
	t.Helper()
	var addrs []netip.Addr
	for _, a := range want {
		addrs = append(addrs, netip.MustParseAddr(a.Address))
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	if got := s.Lookup(t, id, name); !slices.Equal(got, addrs) {
		t.Errorf("%s finds %v under %q, want %v", id, got, name, addrs)
	}
}

func readiness(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	asker := Endpoint("asker", "cron", "app/env/default")
	attach(t, s.Network, asker)
	a := attach(t, s.Network, Endpoint("w1", "web", "app/env/default"))
	b := attach(t, s.Network, Endpoint("w2", "web", "app/env/default"))
	s.find(t, "asker", "web")
	s.Network.Publish("w1", true)
	s.find(t, "asker", "web", a)
	s.Network.Publish("w2", true)
	s.Network.Publish("w2", true)
	s.Network.Publish("nobody", true)
	s.find(t, "asker", "web", a, b)
	s.find(t, "asker", "tasks.web", a, b)
	s.find(t, "w1", "web.1", a, b)
	s.Network.Publish("w1", false)
	s.find(t, "asker", "web", b)
	if err := s.Network.Detach(t.Context(), "w2"); err != nil {
		t.Fatal(err)
	}
	s.find(t, "asker", "web")
}

func isolation(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	web := attach(t, s.Network, Endpoint("web", "web", "a/prod/front"))
	mid := attach(t, s.Network, Endpoint("mid", "mid", "a/prod/front", "a/prod/back"))
	db := attach(t, s.Network, Endpoint("db", "db", "a/prod/back"))
	foreign := attach(t, s.Network, Endpoint("foreign", "db", "b/prod/back"))
	for _, id := range []string{"web", "mid", "db", "foreign"} {
		s.Network.Publish(id, true)
	}
	s.find(t, "web", "mid", mid)
	s.find(t, "web", "web", web)
	s.find(t, "web", "db")
	s.find(t, "mid", "db", db)
	s.find(t, "mid", "web", web)
	s.find(t, "db", "web")
	s.find(t, "foreign", "db", foreign)
	s.find(t, "foreign", "mid")
}

func reconcile(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	a := attach(t, s.Network, Endpoint("keep", "web", "app/env/default"))
	attach(t, s.Network, Endpoint("drop", "web", "app/env/default"))
	for _, id := range []string{"keep", "drop"} {
		s.Network.Publish(id, true)
	}
	if err := s.Network.Reconcile(t.Context(), []string{"keep", "unknown"}); err != nil {
		t.Fatal(err)
	}
	s.find(t, "keep", "web", a)
	if again := attach(t, s.Network, Endpoint("keep", "web", "app/env/default")); again != a {
		t.Errorf("the kept endpoint changed from %+v to %+v", a, again)
	}
}

func restart(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	if s.Restart == nil {
		t.Skip("keeps nothing over a restart")
	}
	e := Endpoint("w1", "web", "app/env/default")
	a := attach(t, s.Network, e)
	attach(t, s.Network, Endpoint("w2", "web", "app/env/default"))
	s.Network.Publish("w1", true)
	s.Network = s.Restart(t)
	s.find(t, "w2", "web", a)
	if again := attach(t, s.Network, e); again != a {
		t.Errorf("attached as %+v before and as %+v after", a, again)
	}
	c := attach(t, s.Network, Endpoint("w3", "web", "app/env/default"))
	if c.Address == a.Address {
		t.Errorf("address %s was given out twice", a.Address)
	}
	if err := s.Network.Reconcile(t.Context(), []string{"w2"}); err != nil {
		t.Fatal(err)
	}
	s.find(t, "w2", "web")
}

func refused(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	if _, err := s.Network.Attach(t.Context(), agent.Endpoint{}); !api.IsKind(err, api.Invalid) {
		t.Errorf("attach without an ID: %v, want kind invalid", err)
	}
}

func cancelled(t *testing.T, open Open) {
	s := open(t, netip.MustParsePrefix("10.97.33.0/30"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Network.Attach(ctx, Endpoint("t1", "web", "app/env/default")); err == nil {
		t.Error("attached although its context had ended")
	}
	attach(t, s.Network, Endpoint("t2", "web", "app/env/default")) // the only address was not lost
}

func silent(t *testing.T, open Open) {
	s := open(t, netip.Prefix{})
	attach(t, s.Network, Endpoint("t1", "web", "app/env/default"))
	if got, err := s.Network.Listening("t1"); err != nil || len(got) > 0 {
		t.Errorf("listens on %v (%v), want nothing", got, err)
	}
	if _, err := s.Network.Listening("never-was"); !api.IsKind(err, api.NotFound) {
		t.Errorf("listeners of an unknown endpoint: %v, want kind not found", err)
	}
}
