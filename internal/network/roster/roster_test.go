package roster

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"github.com/ikada/ikada/internal/agent"
)

func TestRoster(t *testing.T) {
	var r Roster
	e := Entry{Endpoint: agent.Endpoint{ID: "w1", Internal: true, DNS: []string{"192.0.2.53"},
		Networks: []agent.Member{{Network: "a/p/n", Names: []string{"web", "web.1"}}}}, Address: netip.MustParseAddr("10.0.0.2")}
	r.Put(e)
	r.Put(Entry{Endpoint: agent.Endpoint{ID: "b1"}, Address: netip.MustParseAddr("10.0.0.3")})
	if _, changed := r.SetReady("w1", true); !changed {
		t.Error("first SetReady changed nothing")
	}
	if _, changed := r.SetReady("w1", true); changed {
		t.Error("second SetReady changed something")
	}
	if _, changed := r.SetReady("nobody", true); changed {
		t.Error("SetReady of an unknown ID changed something")
	}
	b, err := json.Marshal(r.Hosts())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"id":"b1","address":"10.0.0.3"},{"id":"w1","address":"10.0.0.2","ready":true,"internal":true,` +
		`"networks":[{"network":"a/p/n","names":["web","web.1"]}],"servers":["192.0.2.53"]}]`
	if string(b) != want {
		t.Errorf("hosts = %s, want %s", b, want)
	}
	r.Remove("b1")
	r.Remove("b1")
	if got := r.IDs(); !slices.Equal(got, []string{"w1"}) {
		t.Errorf("IDs = %q", got)
	}
	if _, ok := r.Get("b1"); ok {
		t.Error("entry left after Remove")
	}
}
