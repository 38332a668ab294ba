package fake_test

import (
	"net/netip"
	"testing"

	"github.com/ikada/ikada/internal/network/fake"
	"github.com/ikada/ikada/internal/network/networktest"
)

func TestConformance(t *testing.T) {
	networktest.Run(t, func(t *testing.T, subnet netip.Prefix) networktest.Subject {
		n, err := fake.New(subnet)
		if err != nil {
			t.Fatal(err)
		}
		return networktest.Subject{
			Network: n,
			Lookup:  func(_ *testing.T, id, name string) []netip.Addr { return n.Lookup(id, name) },
		}
	})
}
